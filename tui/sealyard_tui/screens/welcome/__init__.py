"""The welcome screen, shown when there is no workspace yet."""
