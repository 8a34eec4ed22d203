"""Many students in one program: interleaved or stacked."""
