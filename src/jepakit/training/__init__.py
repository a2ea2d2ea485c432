"""Repeating a step: the loop, its schedules, monitors and checkpoints."""
