"""Route handlers of the REST API, by resource."""
