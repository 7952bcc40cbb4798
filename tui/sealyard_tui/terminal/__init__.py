"""The terminal and programs around the application: mouse, signals, notifications, editor, file manager."""
