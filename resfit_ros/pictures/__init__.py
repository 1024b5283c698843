"""Pictures as they come over a wire or out of a bag, to pixels: no ROS needed."""
