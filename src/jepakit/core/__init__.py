"""What everything else builds on: batches, schedules, randomness, devices, files."""
