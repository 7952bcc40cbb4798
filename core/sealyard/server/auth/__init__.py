"""Authentication: access tokens, OpenID Connect, rate limits, tenants."""
