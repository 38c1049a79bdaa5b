"""Reinforcement learning: attempts, rewards, advantages, an update, and at every step proof that they fit together."""
