"""The pocket: a small model trained from scratch, with its problem families and its corpus."""
