"""The dashboard: tasks as they move, what they became, and what can be done with them."""
