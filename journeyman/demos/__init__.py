"""Example agents that show the whole loop."""
