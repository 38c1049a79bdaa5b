"""Keeps records and finds them again."""
