"""The read model, the stored writes and the certificates in PostgreSQL."""
