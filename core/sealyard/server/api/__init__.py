"""The REST API: routes, request and response bodies, OpenAPI document."""
