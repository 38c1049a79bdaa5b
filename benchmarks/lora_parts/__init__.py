"""The parts of benchmarks/lora_without_regret.py."""
