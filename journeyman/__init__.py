"""Journeyman lets an agent learn from its own work."""

__version__ = "0.1.0"
