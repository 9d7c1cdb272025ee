"""Computes how good a policy is from its samples on benchmarks, with confidence intervals."""
