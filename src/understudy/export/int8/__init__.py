"""A network in 8-bit integers: its ranges, its layers, and what they compute bit for bit."""
