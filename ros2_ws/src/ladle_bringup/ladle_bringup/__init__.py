"""One description of the nodes of a run, read by the launch file and by `ladle up`."""
