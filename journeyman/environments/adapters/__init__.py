"""Environments of other people's packages, each behind our own protocol."""
