"""The desk: what people do with tasks that failed; the command line, the Python API and a dashboard stand on it."""
