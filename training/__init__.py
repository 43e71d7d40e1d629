"""From a replay buffer to a stage classifier and a diffusion policy."""
