"""Several servers for one workspace: one is active, the others forward requests to it and can take over."""
