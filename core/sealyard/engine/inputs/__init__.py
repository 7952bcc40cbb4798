"""Input files of tasks: uploads, and the store that keeps each file while a task needs it."""
