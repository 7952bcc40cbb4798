"""Downloads of finished containers."""
