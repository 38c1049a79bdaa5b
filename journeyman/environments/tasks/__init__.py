"""Small tasks with rewards by code, on which a small model has something to learn."""
