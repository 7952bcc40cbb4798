"""The time after which a test stops waiting."""

from __future__ import annotations

TIMEOUT = 60.0
"""Seconds after which a test that waits for a condition, a response or an exit fails.

A test that passes ends its wait with the condition, so a long limit costs nothing. It must be long, because the suite
runs two processes per processor, and a test starts up to ten programs of its own, of which the workers have a low
priority: on a machine a third as fast as a developer's, the start of an application (interpreter, key derivation,
worker) takes 20 seconds.
"""
