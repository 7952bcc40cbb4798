"""Input files of tasks: uploads, and the store that keeps a file while a task needs it."""
