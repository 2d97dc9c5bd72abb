"""PostgreSQL and Kafka behind the ports of `service`."""
