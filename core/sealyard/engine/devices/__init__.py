"""Device configurations and the keys they name."""
