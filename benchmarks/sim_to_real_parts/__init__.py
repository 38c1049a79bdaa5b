"""Parts of benchmarks/sim_to_real.py."""
