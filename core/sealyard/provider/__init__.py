"""The provider process: serves one key provider that the confined crypto worker cannot load itself."""
