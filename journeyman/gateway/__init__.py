"""The OpenAI-compatible endpoint: forward, stream, capture."""
