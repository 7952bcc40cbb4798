"""Implementation of :class:`~sealyard.client.protocol.Client` for a server, over HTTP."""
