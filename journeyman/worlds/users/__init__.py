"""Simulated users: code decides what they do, templates or a model word it, and effects say when they are served."""
