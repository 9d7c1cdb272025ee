"""The pocket: a small real model with its problem families and its OpenAI-compatible server."""
