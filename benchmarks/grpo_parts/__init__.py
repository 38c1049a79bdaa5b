"""What `grpo.py` runs: both trainers, each in a process of its own, on the same prompts."""
