"""From a checkpoint to a bundle: the deploy graph, simplified, and checked against torch."""
