"""Programs for those who work on celeriac."""
