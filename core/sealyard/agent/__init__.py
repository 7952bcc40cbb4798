"""The agent of a crypto host, which connects its workers to the bus database and the object store."""
