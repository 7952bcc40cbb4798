"""The screens of the application, one package each, with the stylesheet beside the module."""
