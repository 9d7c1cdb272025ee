"""Engines: the one-method protocol every language model is spoken to through, and its clients."""
