"""Decoders of the Llama kind, with a backward pass written by hand: less is kept, and less is computed."""
