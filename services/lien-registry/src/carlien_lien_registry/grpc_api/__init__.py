"""gRPC in: messages to domain and back, nothing else. Errors are mapped by the common interceptor."""
