"""The device configurations screen."""
