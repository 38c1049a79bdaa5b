"""Writes exchanges for other tools: as OpenAI chat rows, and as OpenTelemetry spans."""
