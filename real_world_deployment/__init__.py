"""Chunk -> safe motion. Knows neither torch nor ROS; time is an argument."""
