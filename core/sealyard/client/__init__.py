"""Clients through which front ends use an engine, in this process, in another one or on a server."""
