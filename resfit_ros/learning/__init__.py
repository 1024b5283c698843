"""Sample-efficient off-policy residual reinforcement learning in torch; no ROS."""
