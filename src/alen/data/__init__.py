"""Data: the made-up scene, photographs turned back into raw light, data sets and pairs."""
