"""Settings of the learning algorithm that contradict each other."""

import pytest
from builders import small_config

from resfit_ros.core.errors import ConfigError


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"warmup_steps": 1000}, "total_steps 1000 must be above warmup_steps 1000"),
        ({"value_min": 1.0}, "value_min 1 must be below value_max 1"),
        ({"value_min": 0.5, "value_max": -0.5}, "value_min 0.5 must be below value_max -0.5"),
        ({"vit_width": 30, "vit_heads": 4}, "vit_width 30 must be a multiple of vit_heads 4"),
        ({"feature_extractor": "network.pt"}, "use_images is false"),
        ({"critic_kind": "c52"}, "critic_kind"),
        ({"actor_objective": "median"}, "actor_objective"),
        ({"matmul_precision": "float16"}, "matmul_precision"),
    ],
)
def test_when_settings_contradict_each_other_expect_both_values_named(changes, words):
    with pytest.raises(ConfigError, match=words):
        small_config(**changes)


@pytest.mark.parametrize(("rlpd", "largest"), [(False, 0.3), (True, 1.0)])
def test_when_there_is_no_base_policy_expect_the_whole_range_as_largest_residual(rlpd, largest):
    assert small_config(rlpd=rlpd, residual_scale=0.3).largest_residual == largest
