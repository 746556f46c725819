"""A Django app."""
