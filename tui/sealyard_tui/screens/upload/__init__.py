"""The upload screen, with a form for creating a task and a list of the watch folder entries."""
