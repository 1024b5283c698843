"""A web page for the operator: the same controls as the rqt plugin, for a phone or a laptop without ROS."""
