"""Threads, event loops on threads, and the system clock."""
