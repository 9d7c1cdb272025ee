"""Published versions made into better ones without inference: filtered and verified again."""
