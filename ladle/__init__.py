"""The words every stage shares. Imports neither torch nor ROS."""
