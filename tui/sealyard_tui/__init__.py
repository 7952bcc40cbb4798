"""The terminal application, which accesses workspaces only through a client."""
