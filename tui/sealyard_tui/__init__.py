"""The terminal application. It accesses workspaces only through a client."""
