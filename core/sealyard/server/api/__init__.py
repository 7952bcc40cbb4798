"""The REST API: routes, documented names, OpenAPI document."""
