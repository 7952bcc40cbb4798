"""HTTP below the API: listeners, limits, bodies, problems, request log."""
