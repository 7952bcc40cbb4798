"""Appearance and input: themes, keymap, command palette, and saved UI state."""
