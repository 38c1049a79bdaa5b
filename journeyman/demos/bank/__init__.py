"""A bank's support agent, its customers, its database and its rules."""
