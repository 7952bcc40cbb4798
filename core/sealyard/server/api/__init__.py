"""The REST API: routes, request and response bodies, and the OpenAPI document."""
