"""A policy at work: memory, gradients, loss, observation, network."""
