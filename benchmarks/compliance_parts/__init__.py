"""The parts of benchmarks/compliance.py."""
