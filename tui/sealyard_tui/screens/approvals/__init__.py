"""The approvals screen: the tasks to approve, their review, and the decision."""
