"""Clients for front ends: of an engine in this process, in another process or on a server."""
