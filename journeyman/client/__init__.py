"""In-process capture: what a program asks its provider goes into the spool, with no server in between."""
