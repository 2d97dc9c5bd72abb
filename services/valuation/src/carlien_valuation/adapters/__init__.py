"""PostgreSQL, Kafka and TensorFlow behind the protocols of `service`."""
