"""The studio: a local page on which one hides a box of a picture and sees what a model expects."""
