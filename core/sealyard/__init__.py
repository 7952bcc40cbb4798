"""Sealyard: signs and encrypts firmware under four eyes, and keeps a log a stranger can check."""
