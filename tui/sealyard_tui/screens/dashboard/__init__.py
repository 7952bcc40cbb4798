"""The dashboard: all tasks, their results, and actions on them."""
