"""What every node needs from ROS: parameters, message conversion, QoS, diagnostics, a runner."""
