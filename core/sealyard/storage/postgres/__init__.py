"""The store and the audit log of a workspace in PostgreSQL. Needs the extra ``postgres``."""
