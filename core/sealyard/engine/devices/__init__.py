"""Device configurations and the keys that they use."""
