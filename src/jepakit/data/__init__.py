"""Pictures in: `sources` read them, `views` cut from them, `loader` serves them in batches."""
