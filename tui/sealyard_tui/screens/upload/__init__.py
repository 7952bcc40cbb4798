"""The upload place: a package put together from files, and the watch folder."""
