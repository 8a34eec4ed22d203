"""A network as C99 for a microcontroller."""
