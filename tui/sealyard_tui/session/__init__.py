"""One person at one workspace: the engine beside the screens, downloads, the watch folder, and what all of it tells."""
