"""Appearance and input: themes, key map, palette, and the saved state of the user interface."""
