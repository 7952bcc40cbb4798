"""The places of the application, and the dialogs that open over them: one file each, its stylesheet beside it."""
