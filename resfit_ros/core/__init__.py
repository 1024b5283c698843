"""The residual control path as pure functions: numpy only, no ROS, no torch, no clock, no files."""
