"""Data and decisions: standard library only, no I/O."""
