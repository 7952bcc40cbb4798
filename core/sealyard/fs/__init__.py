"""File system helpers: durable writes, private files, file locks, and input files that users provide."""
