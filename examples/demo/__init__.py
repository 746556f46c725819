"""Runs the whole shop, kills a worker half way, and counts what was lost."""
