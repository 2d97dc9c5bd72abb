"""gRPC: the server every service runs, the one interceptor, callers and what they may, and the client side."""
