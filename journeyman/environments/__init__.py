"""Where an agent acts, and the loop that plays an episode."""
