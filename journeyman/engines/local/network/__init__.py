"""The base model in memory: its layers, its key–value cache, its adapters. Tokens in, logits out."""
