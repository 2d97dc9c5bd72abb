"""What the registry stands on: the ledger, PostgreSQL, Kafka."""
