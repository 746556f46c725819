"""A service laid out as the patterns have it."""
