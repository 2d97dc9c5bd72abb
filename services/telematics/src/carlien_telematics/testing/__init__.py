"""Stand-ins and a device for tests; not for the service."""
