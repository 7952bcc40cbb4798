"""The terminal application: speaks to a Client and to nothing else below it."""
