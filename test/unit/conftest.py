"""Settings of the unit tests: one thread, reproducible examples."""

import hypothesis
import torch

torch.set_num_threads(1)
hypothesis.settings.register_profile(
    "unit", deadline=None, max_examples=50, derandomize=True, database=None
)
hypothesis.settings.load_profile("unit")
