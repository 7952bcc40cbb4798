"""The provider process: serves one key backend, which the confined crypto worker cannot load itself."""
