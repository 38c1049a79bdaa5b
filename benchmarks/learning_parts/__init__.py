"""Suites of the package's adapters, with the settings under which a small model has signal."""
