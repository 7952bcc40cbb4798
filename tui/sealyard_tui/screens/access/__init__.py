"""Access control: people, groups, rules and the policy."""
