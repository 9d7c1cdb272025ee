"""The global concurrency limits: they guard whole jobs, never single calls.

Prefect's limit is exact but slow (64 half-second calls at limit 8 took 21.7 s, a semaphore 4.0),
so what is bounded inside a job is bounded by the job.
"""

from __future__ import annotations

ENGINE = "engine"
"""Runs that may keep an engine busy at once."""
GPU = "gpu"
"""Training jobs at once."""

LIMITS = {ENGINE: 2, GPU: 1}
