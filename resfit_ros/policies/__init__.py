"""Base policies: anything that turns observations into action chunks, as a frozen black box."""
