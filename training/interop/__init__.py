"""Other people's formats: the replay buffer of the Diffusion Policy code, robomimic's HDF5, LeRobot v3.0."""
