"""Device configurations: seen, made, followed by versions."""
