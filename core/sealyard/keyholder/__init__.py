"""The key holder: the process that holds the master key of a workspace and starts its crypto workers."""
