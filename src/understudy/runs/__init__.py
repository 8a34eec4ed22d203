"""A run: its plan, its folder, its arms and its results."""
