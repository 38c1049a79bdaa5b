"""Compliance before launch: a policy as a file, scenarios that tempt to break it, and what an agent did there."""
