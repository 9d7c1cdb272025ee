"""Turns stored rows into a better policy, on torch."""
