"""Authentication: access tokens, OpenID Connect, rate limits, and tenants."""
