"""A run on paper: memory, speed, network, hours and failures, before any GPU is rented."""
