"""The parts of `benchmarks/serving.py`: each measures one thing, every engine in a process of its own."""
