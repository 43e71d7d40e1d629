"""A Franka Panda with a spoon, a bowl of puree and two cameras in MuJoCo."""
