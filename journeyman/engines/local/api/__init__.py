"""The engine behind the OpenAI API: bodies in, replies out."""
