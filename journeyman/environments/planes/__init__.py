"""An environment behind two planes over HTTP: tools and messages for the agent, control for the trainer."""
