"""Sealyard: firmware signing and encryption under dual control, with an audit log that third parties can verify."""
