"""The crypto worker, a process of its own and the only place where keys are used."""
