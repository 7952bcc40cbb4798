"""The command line of Sealyard: the ``sealyard`` command."""
