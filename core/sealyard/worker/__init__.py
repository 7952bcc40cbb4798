"""The crypto worker, a process of its own: the only place where keys are used."""
