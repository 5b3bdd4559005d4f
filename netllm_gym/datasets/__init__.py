"""Experience: collect episodes to Minari datasets, load them for training, view them flat for d3rlpy."""
