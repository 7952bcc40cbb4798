"""Settings, profiles, servers and their tokens on this machine."""
