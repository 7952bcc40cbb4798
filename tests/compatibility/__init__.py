"""Test that this version reads what earlier versions wrote."""
