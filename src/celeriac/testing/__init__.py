"""What helps to test: apps on celeriac, and stores and transports of others."""
