"""Seeing what a model has learned: masks, maps, energy, retrieval, a film, and planted anomalies."""
