"""Seeing what a model has learned: masks, maps, energy, retrieval, film, planted anomalies."""
