"""The use cases, against small Protocols."""
