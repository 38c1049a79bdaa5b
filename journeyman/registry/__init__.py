"""Knows every adapter, and which one answers to which name."""
