"""The desk: what people look at and do; the command line, the Python API and a dashboard stand on it."""
