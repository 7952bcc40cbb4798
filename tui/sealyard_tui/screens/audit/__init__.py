"""The audit screen: view, filter, verify and export the audit log."""
