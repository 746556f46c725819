"""A message's way in: admit, claim the key, run, decide, settle."""
