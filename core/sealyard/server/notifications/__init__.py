"""Delivery of notifications by e-mail and chat, in processes of their own."""
