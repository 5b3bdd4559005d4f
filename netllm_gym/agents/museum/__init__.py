"""Published agents, replayed with the weights that their authors released."""
