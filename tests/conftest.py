"""What every test has: see `tests/support/plugin.py`."""

pytest_plugins = ["tests.support.plugin"]
