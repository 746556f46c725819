"""What every test has: see `tests/support/plugin.py`."""

pytest_plugins = ["pytester", "tests.support.plugin"]
