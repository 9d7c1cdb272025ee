"""Rollouts of any policy: groups of samples a problem, and branches of its failed steps."""
