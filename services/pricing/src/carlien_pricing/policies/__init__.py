"""Policy data: law and house tables, products, economics, risk matrices. Read by `adapters.policies`."""
