"""The page an evaluation ends with."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the report needs matplotlib: pip install matplotlib")

from resfit_ros.core.errors import DataError
from resfit_ros.core.types import Outcome
from resfit_ros.data.bag_about import BagAbout
from resfit_ros.data.episode_data import EpisodeData, write_episode
from resfit_ros.learning.blind_record import BlindRecord
from resfit_ros.learning.evaluation import Result, schedule
from resfit_ros.learning.evaluation_result import ALL_RUN, write_result
from resfit_ros.reporting.evaluation_page import page
from resfit_ros.reporting.evaluation_report import write_report
from resfit_ros.reporting.evaluation_words import headline, sentences
from resfit_ros.reporting.film import film_strips, telling_episodes

EVIL = "<script>alert(1)</script>"


def evaluated(path: Path, wins: dict[str, str], setup: dict | None = None, **changes) -> dict:
    """The result of an evaluation in which arm `a` succeeded in block i where wins[a][i] is '+'."""
    arms = list(wins)
    plan = {
        "arms": arms,
        "episodes": len(wins[arms[0]]),
        "scene_seed": 0,
        "seed": -1,
        "matched": True,
        "sequential": False,
        "alpha": 0.05,
        "min_difference": 0.0,
        "setup": {"simulated": False, "policy": "p"} | (setup or {}),
    } | changes
    trials = schedule(arms, plan["episodes"], 0, 0, plan["matched"])
    record = BlindRecord.begin(path, plan, trials)
    for i, trial in enumerate(trials):
        outcome = Outcome.SUCCESS if wins[trial.arm][trial.block] == "+" else Outcome.FAILURE
        record.add(Result(trial, i + 1, outcome, 3, seconds=0.15, labelled_by=EVIL))
    return json.loads(json.dumps(write_result(record, path, ALL_RUN)))


def bag(directory: Path, episode_id: int, images: bool) -> None:
    rng, steps = np.random.default_rng(episode_id), 3
    frames = rng.integers(0, 255, (steps + 1, 24, 32, 3), dtype=np.uint8)
    data = EpisodeData(
        states=np.zeros((steps + 1, 2), np.float32),
        bases=np.zeros((steps + 1, 2), np.float32),
        actions=rng.random((steps, 2), dtype=np.float32),
        stamps_ns=np.arange(1, steps + 2) * 50_000_000,
        outcome=Outcome.SUCCESS,
        images=(frames,) if images else (),
    )
    write_episode(directory, episode_id, data, BagAbout(source="test"))


class Links(HTMLParser):
    """Tags that are never closed, and everything that points elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize(
    ("base", "tuned", "begins"),
    [
        ("-" * 12, "+" * 12, "Better: base + residual succeeds more often than base policy, by 100"),
        ("+" * 12, "-" * 12, "Worse: base + residual succeeds less often than base policy, by 100"),
        ("+-+-", "+-++", "Not shown: these episodes do not show"),
    ],
)
def test_when_the_result_is_in_expect_it_said_plainly_good_or_bad(tmp_path, base, tuned, begins):
    assert headline(evaluated(tmp_path / "e.json", {"base": base, "finetuned": tuned})).startswith(begins)


def test_when_a_difference_is_ruled_out_expect_its_size(tmp_path):
    result = evaluated(tmp_path / "e.json", {"base": "+" * 60, "finetuned": "+" * 60}, min_difference=0.2)
    assert headline(result).startswith("No difference of 20 percentage points or more")


def test_when_checkpoints_are_compared_expect_their_names(tmp_path):
    result = evaluated(tmp_path / "e.json", {"against": "+" * 9, "finetuned": "-" * 9})
    assert headline(result).startswith("Worse: checkpoint A succeeds less often than checkpoint B")


def test_when_one_policy_ran_expect_its_rate_alone(tmp_path):
    result = evaluated(tmp_path / "e.json", {"base": "+-+"})
    assert headline(result) == "The base policy succeeded in 2 of 3 episodes."
    assert "report.html" not in write_report(tmp_path / "e.json").name


def test_when_scenes_were_set_up_by_hand_expect_that_said(tmp_path):
    result = evaluated(tmp_path / "e.json", {"base": "+-", "finetuned": "++"}, matched=False)
    assert "The initial scenes were set up by hand and not matched." in sentences(result)


def test_when_words_come_from_outside_expect_them_escaped_and_nothing_fetched(tmp_path):
    result = evaluated(
        tmp_path / "e.json",
        {"base": "+-", "finetuned": "++"},
        {"command": EVIL, "config": EVIL, "policy": EVIL},
    )
    text = page(result, b"\x89PNG", [])
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 3
    links = Links(text)
    assert links.open == []
    assert all(source.startswith("data:image/") for source in links.sources)
    assert not re.search(r"https?://", text)


def test_when_the_order_was_changed_afterwards_expect_the_page_to_say_so(tmp_path):
    result = evaluated(tmp_path / "e.json", {"base": "+-", "finetuned": "++"})
    assert "It is the hash of the order" in page(result, b"", [])
    result["commitment"]["order"].reverse()
    assert "It is NOT the hash" in page(result, b"", [])


def test_when_films_are_chosen_expect_success_and_failure_per_arm_from_blocks_that_differ(tmp_path):
    result = evaluated(tmp_path / "e.json", {"base": "++-", "finetuned": "+-+"})
    chosen = telling_episodes(result)
    assert [(e["arm"], e["success"]) for e in chosen] == [
        ("base", True), ("base", False), ("finetuned", True), ("finetuned", False)
    ]  # fmt: skip
    assert {e["block"] for e in chosen} == {1, 2}


@pytest.mark.parametrize(("images", "source"), [(True, "camera"), (False, "no camera")])
def test_when_bags_are_there_expect_strips_from_cameras_or_plots(tmp_path, images, source):
    result = evaluated(tmp_path / "e.json", {"base": "+-"})
    bag(tmp_path / "bags", 1, images)
    (strip,) = film_strips(result, tmp_path / "bags")
    assert strip.source.startswith(source)
    assert strip.jpeg[:2] == b"\xff\xd8"


def test_when_reported_expect_one_small_page_with_everything_inside(tmp_path):
    path = tmp_path / "evaluation.json"
    evaluated(path, {"base": "+-", "finetuned": "++"})
    for episode_id in range(1, 5):
        bag(tmp_path / "bags", episode_id, images=True)
    out = write_report(path)
    text = out.read_text()
    assert out == tmp_path / "report.html"
    assert (tmp_path / "evaluation.png").read_bytes()[:4] == b"\x89PNG"
    assert len(text) < 3_000_000
    assert text.count("data:image/") == 1 + 3  # no failure of the second arm


@pytest.mark.parametrize("text", ["", "{", "{}", "[]"])
def test_when_the_result_cannot_be_read_expect_one_sentence(tmp_path, text):
    path = tmp_path / "evaluation.json"
    path.write_text(text)
    with pytest.raises(DataError, match="not a result of 'resfit evaluate'"):
        write_report(path)
