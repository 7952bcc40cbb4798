"""Access control: people, groups, rules, policy, tokens, one-time passwords and roles of an issuer."""
