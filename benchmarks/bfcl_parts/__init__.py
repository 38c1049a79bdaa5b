"""The parts of benchmarks/bfcl.py."""
