"""Clients through which front ends use an engine: in this process, in another process or on a server."""
