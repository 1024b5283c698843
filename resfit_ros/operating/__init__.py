"""The operator's view of the graph, shared by the rqt plugin and the web console; no Qt."""
