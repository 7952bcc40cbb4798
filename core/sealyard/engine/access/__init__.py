"""Access control: subjects, groups, rules, policy, access tokens, one-time passwords and identity provider roles."""
