"""Policies made from datasets, without Prefect: jobs launched, rounds of RL, the whole loop."""
