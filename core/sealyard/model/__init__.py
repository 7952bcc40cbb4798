"""Value types, errors and the task life cycle. Imports no other package of the project and does no I/O."""
