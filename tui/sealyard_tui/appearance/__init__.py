"""Appearance and input: themes, key map, palette, and saved UI state."""
