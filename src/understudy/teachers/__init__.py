"""What turns a batch into teacher outputs: a frozen network, an ensemble, or a cache."""
