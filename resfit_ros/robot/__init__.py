"""What is known of the robot itself: its description, its limits, its body."""
