"""What lies between convolutions, in fewer passes over memory than PyTorch takes on a CPU."""
