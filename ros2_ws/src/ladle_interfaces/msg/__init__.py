"""The .msg definitions as package data, so that a bag can be written where no ROS 2 is installed."""
