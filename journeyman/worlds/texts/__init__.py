"""Worlds of words: systems that an agent acts on by saying what it does, and that answer in text."""
