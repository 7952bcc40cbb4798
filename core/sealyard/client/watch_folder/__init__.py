"""The watch folder, whose new files become packages."""
