"""The terminal and external programs: mouse, signals, notifications, editor and file manager."""
