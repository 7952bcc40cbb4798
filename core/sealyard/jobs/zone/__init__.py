"""The job bus between servers and the hosts of a crypto zone: a PostgreSQL database with a queue of Procrastinate."""
