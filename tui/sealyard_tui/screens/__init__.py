"""The screens of the application. Each screen is a package that includes its stylesheets."""
