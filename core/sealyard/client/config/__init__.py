"""The user's settings, profiles, workspaces, servers and server tokens."""
