"""The ways a task takes out of the app: `choice` says which, and there is one object a way."""
