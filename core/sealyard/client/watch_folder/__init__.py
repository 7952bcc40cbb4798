"""A folder whose new files become packages."""
