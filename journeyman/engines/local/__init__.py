"""The PyTorch engine: one base model, any number of adapters, in a process of its own."""
