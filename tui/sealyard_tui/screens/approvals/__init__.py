"""The approvals screen: review pending tasks and decide on them."""
