"""Training in one process, without ROS: the graph's own parts in the graph's own order, for sweeps."""
