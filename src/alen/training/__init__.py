"""Training: configuration, losses, one visible loop, checkpoints. Needs torch."""
