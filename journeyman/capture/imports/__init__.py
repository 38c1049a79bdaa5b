"""Reads what other tools captured: each format's rows become exchanges, feedback and sessions of ours."""
