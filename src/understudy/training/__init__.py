"""One training: the loop, its state, optimizer, curriculum and device."""
