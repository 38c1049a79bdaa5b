"""What the gateway's benchmark consists of: a fast upstream, and a client that sends at a pace or as fast as it can."""
