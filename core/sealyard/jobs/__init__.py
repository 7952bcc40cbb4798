"""The job bus between the engine and its crypto workers."""
