"""What runs and trainings do, read from the store alone: which there are, and how far each is."""
