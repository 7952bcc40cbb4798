"""The :class:`~sealyard.client.protocol.Client` of a server, by HTTP."""
