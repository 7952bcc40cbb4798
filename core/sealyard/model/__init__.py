"""Values, errors and the task life cycle: imports nothing of the project and does no I/O."""
