"""Use cases of tasks: create, query, decide, download; and what time does to them."""
