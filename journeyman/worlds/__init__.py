"""Simulates a system, its users and what tempts an agent there, from what was seen of them; programs own its state."""
