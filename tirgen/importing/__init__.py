"""Other people's tool-integrated reasoning data, run and judged again here, as trajectories."""
