"""Spans and log events of agents that are instrumented for OpenTelemetry, read into exchanges and feedback."""
