"""How good a policy is: benchmarks rolled out, judged, and summed up with their uncertainty."""
