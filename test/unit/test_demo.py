"""How many demonstrations the demo's base policy is trained on."""

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed; run 'make setup'")

from resfit_ros.cli.demo import best_attempt, next_count  # noqa: E402


def attempts(*pairs: tuple[int, float]) -> list[dict[str, float]]:
    return [{"demonstrations": count, "success_rate": rate} for count, rate in pairs]


def test_when_nothing_was_tried_expect_the_configured_number():
    assert next_count([], 7) == 7


def test_when_the_base_is_within_the_range_expect_it_kept():
    assert next_count(attempts((7, 0.4)), 7) is None


def test_when_the_base_is_too_good_expect_fewer_demonstrations():
    assert next_count(attempts((7, 0.66)), 7) == 6


def test_when_the_base_is_too_poor_expect_more_demonstrations():
    assert next_count(attempts((7, 0.1), (8, 0.2)), 7) == 9


def test_when_the_direction_turns_expect_an_end():
    assert next_count(attempts((7, 0.66), (6, 0.2)), 7) is None


def test_when_every_attempt_fails_expect_an_end():
    assert next_count(attempts((7, 0.7), (6, 0.7), (5, 0.7), (4, 0.7)), 7) is None


def test_when_none_is_within_the_range_expect_the_nearest_taken():
    assert best_attempt(attempts((7, 0.66), (6, 0.22))) == 1
