"""The access control screen."""
