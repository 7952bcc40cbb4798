"""se-1, the default packaging."""
