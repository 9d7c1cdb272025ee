"""Makes trajectories with any policy: engines, agents, the TIR loop, sandbox, verifier, filters."""
