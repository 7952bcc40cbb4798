"""The terminal and the programs around the application: mouse, signals, editor, folders."""
