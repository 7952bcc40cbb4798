"""Keys in the Transit secrets engine of HashiCorp Vault or OpenBao."""
