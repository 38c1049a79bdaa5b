"""Turns exchanges into versioned rows to learn from."""
