"""Reads data sets of problems with gold answers, and trajectories that others have made."""
