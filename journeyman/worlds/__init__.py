"""Simulates a system from its traces: programs own the state, and every answer says where it comes from."""
