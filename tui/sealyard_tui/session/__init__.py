"""The session of one identity in one workspace: connection, downloads, watch folder and notifications."""
