"""A model as a layer of a world: what it is asked, how its answer is read, how it is taught, and what it earned."""
