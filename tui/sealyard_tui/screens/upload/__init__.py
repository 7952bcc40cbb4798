"""The upload screen: a form for one task, and the watch folder."""
