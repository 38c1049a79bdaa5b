"""The parts of benchmarks/sft.py."""
