"""What every carlien service needs: domain types, lifecycle, gRPC, Kafka, PostgreSQL, metrics, security."""
