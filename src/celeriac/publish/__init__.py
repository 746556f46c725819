"""A message's way out: check the arguments, take the key, route, stamp, send."""
