"""Turns a conversation into a reply."""
