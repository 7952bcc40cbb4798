"""The terminal and external programs: mouse, signals, notifications, editor, file manager."""
