"""The screens of the application, one package each, with each stylesheet next to its module."""
