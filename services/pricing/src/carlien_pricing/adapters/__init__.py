"""The Protocols of `service`, on files, PostgreSQL, gRPC and Kafka."""
