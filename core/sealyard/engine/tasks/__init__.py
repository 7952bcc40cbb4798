"""Use cases of tasks: create, query, decide and download; and the deadlines that expire tasks and results."""
