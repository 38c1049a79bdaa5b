"""Model files: pulled, checked and converted, so that the engine finds plain folders."""
