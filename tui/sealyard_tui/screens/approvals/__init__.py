"""The approval queue: everything an approver must see, and the decision."""
