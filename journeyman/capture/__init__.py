"""Keeps what calls said: raw bytes in a spool first, exchanges in the store later."""
