"""One file per node. A node translates: message to value, pure function, value to message."""
