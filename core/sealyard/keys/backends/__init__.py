"""Key backends: tokens and key services that hold keys outside the workspace."""
