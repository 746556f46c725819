"""The servers that tests and benchmarks talk to: `python -m tools.services start` and `stop`."""
