"""Resumable work: one engine of jobs, and a recipe for each kind of row that is made."""
