"""Turns rows into a new adapter."""
