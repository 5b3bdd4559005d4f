"""Small supervised networks: the honest rivals of the language model (torch, loaded on use)."""
