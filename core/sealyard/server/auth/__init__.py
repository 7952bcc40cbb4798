"""Who calls: tokens, OpenID Connect, rate limits, tenants."""
