"""Tests of security promises: each is named after the promise or the attack that it covers."""
