"""Weights of other projects: one names table per project, read and written."""
