"""The pocket: a small real model trained from scratch, with its problem families and its corpus."""
