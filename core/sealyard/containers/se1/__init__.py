"""The se-1 container format, the default packaging."""
