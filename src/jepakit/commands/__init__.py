"""The verbs of `jepa`, one per file."""
