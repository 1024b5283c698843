"""Where episodes of a raw bag begin and end, and how they went."""

import numpy as np
import pytest

from raw_bag_builder import BEGIN_NS, MS, commands, header, joints, make, of_std, read, robot, write_bag
from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.core.types import Outcome
from resfit_ros.data.interfaces import type_name, typestore


@pytest.fixture
def bag(tmp_path):
    """A bag of 2 s with these messages beside the robot's."""
    return lambda *others: write_bag(tmp_path / "raw", joints() + commands() + list(others))


def spans(episodes) -> list[tuple[float, float]]:
    """First and last instant of each, ms."""
    return [tuple(((d.stamps_ns[[0, -1]] - BEGIN_NS) / MS).tolist()) for d in episodes]


def outcomes(episodes) -> list[str]:
    return [d.outcome.name.lower() for d in episodes]


def test_when_nothing_says_how_it_ended_expect_it_refused(bag):
    with pytest.raises(ConfigError, match="give --outcome success, failure or timeout, --success-topic"):
        read(bag(), outcome="")


@pytest.mark.parametrize("kind", ["Bool", "UInt8", "Int32"])
def test_when_a_topic_turns_true_expect_success_at_the_next_instant(bag, kind):
    values = [(0, 0), (500, 0), (1012, 1), (1500, 1)]
    told = [("/done", t, of_std(kind, bool(v) if kind == "Bool" else v)) for t, v in values]
    episodes, report, _ = read(bag(*told), success_topic="/done")
    assert spans(episodes) == [(0.0, 1050.0)] and outcomes(episodes) == ["success"]
    assert episodes[0].labelled_by == "/done" and report.steps == 21


def test_when_a_topic_never_turns_true_expect_a_timeout_or_what_the_option_says(bag):
    path = bag(("/done", 500, of_std("Bool", False)))
    assert outcomes(read(path, success_topic="/done")[0]) == ["timeout"]
    assert outcomes(read(path, success_topic="/done", outcome="failure")[0]) == ["failure"]


def test_when_a_label_comes_expect_its_outcome_at_its_instant(bag):
    label = make(type_name("Label"), header=header(700), outcome=int(Outcome.FAILURE), labelled_by="operator")
    episodes, _, _ = read(bag(("/label_event", 700, label)), success_topic="/label_event")
    assert spans(episodes) == [(0.0, 700.0)] and outcomes(episodes) == ["failure"]


def test_when_a_bool_splits_expect_an_episode_while_it_is_true(bag):
    told = [(0, False), (210, True), (310, True), (620, False), (1000, True), (1620, False)]
    path = bag(*(("/run", t, of_std("Bool", v)) for t, v in told))
    episodes, _, _ = read(path, episode_topic="/run", outcome="timeout")
    assert spans(episodes) == [(210.0, 610.0), (1000.0, 1600.0)]


def test_when_a_number_splits_expect_one_episode_for_each_but_zero(bag):
    told = [(0, 1), (500, 2), (1000, 0), (1500, 7)]
    path = bag(*(("/id", t, of_std("Int32", v)) for t, v in told))
    episodes, _, _ = read(path, episode_topic="/id", outcome="timeout")
    assert spans(episodes) == [(0.0, 500.0), (500.0, 1000.0), (1500.0, 2000.0)]


def test_when_words_split_expect_their_outcomes(bag):
    told = [(0, "start"), (500, "Success"), (600, "start"), (900, "failure")]
    told += [(1000, "go"), (1400, "aborted"), (1500, "go")]
    path = bag(*(("/phase", t, of_std("String", w)) for t, w in told))
    episodes, report, notes = read(path, episode_topic="/phase")
    assert spans(episodes) == [(0.0, 500.0), (600.0, 900.0)] and outcomes(episodes) == ["success", "failure"]
    whys = ["", "", "it was aborted", "nothing says how it ended; give --outcome"]
    assert [e.why for e in report.episodes] == whys
    assert len([n for n in notes if "left out" in n]) == 2


def test_when_our_episode_topic_splits_expect_its_outcomes(bag):
    def event(t, kind, outcome):
        fields = {"episode_id": 1, "event": kind, "outcome": int(outcome), "steps": 0, "scene_seed": -1}
        known = typestore().types[type_name("Episode")].__dataclass_fields__
        texts = {name: "" for name in known if name not in (*fields, "header", "__msgtype__")}
        return ("/episode", t, make(type_name("Episode"), header=header(t), **fields, **texts))

    path = bag(event(100, 0, Outcome.NONE), event(800, 1, Outcome.SUCCESS), event(1000, 0, Outcome.NONE))
    episodes, _, _ = read(path, episode_topic="/episode", outcome="timeout")
    assert spans(episodes) == [(100.0, 800.0), (1000.0, 2000.0)]
    assert outcomes(episodes) == ["success", "timeout"]


def test_when_recording_pauses_expect_it_split_there(tmp_path):
    kept = [m for m in joints() + commands() if not 600 < m[1] < 1400]
    path = write_bag(tmp_path / "raw", kept)
    episodes, _, _ = read(path, split_gap_s=0.5)
    # A source that was silent is used again after five new values, 40 ms.
    assert spans(episodes) == [(0.0, 600.0), (1450.0, 2000.0)]
    assert not any(d.missing.any() for d in episodes)


def test_when_recording_pauses_and_is_not_split_expect_the_steps_over_the_gap_missing(tmp_path):
    kept = [m for m in joints() + commands() if not 600 < m[1] < 1400]
    ((data,), report, _) = read(write_bag(tmp_path / "raw", kept))
    assert data.missing.sum() == 1 and report.steps + report.dropped.total() == 40
    assert report.sources[0].stale_stretches == 1 and report.sources[0].longest_gap_s == pytest.approx(0.8)


LABELS = {
    "csv": "bag,start_s,end_s,outcome\nraw,0.2,0.7,success\nraw,1.0,,failure\n",
    "yaml": "- {bag: raw, start_s: 0.2, end_s: 0.7, outcome: success}\n"
    "- {bag: raw, start_s: 1, outcome: failure}\n",
    "json": '[{"bag": "raw", "start_s": 0.2, "end_s": 0.7, "outcome": "success"},'
    ' {"bag": "raw", "start_s": 1, "outcome": "Failure"}]',
}


@pytest.mark.parametrize("kind", LABELS)
def test_when_a_file_labels_expect_its_episodes(bag, tmp_path, kind):
    labels = tmp_path / f"labels.{kind}"
    labels.write_text(LABELS[kind])
    episodes, _, _ = read(bag(), labels=str(labels))
    assert spans(episodes) == [(200.0, 700.0), (1000.0, 2000.0)]
    assert outcomes(episodes) == ["success", "failure"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bag,outcome\nrow,success\n", "says nothing of bag 'raw'; did you mean 'row'"),
        ("bag,outcome\nraw,won\n", "line 2: outcome 'won': expected success, failure, timeout"),
        ("bag,outcom\nraw,success\n", "line 2: unknown column 'outcom'; did you mean 'outcome'"),
        ("bag,start_s,outcome\nraw,soon,success\n", "line 2: start_s 'soon': expected seconds"),
        ("bag,end_s,outcome\nraw,99,success\n", "line 2: end_s 99 lies beyond the bag, which lasts 2.000 s"),
        (
            "bag,start_s,end_s,outcome\nraw,0,1,success\nraw,0.5,2,success\n",
            "line 3: begins before the episode of line 2",
        ),
    ],
)
def test_when_labels_are_wrong_expect_the_row_and_why(bag, tmp_path, text, said):
    labels = tmp_path / "labels.csv"
    labels.write_text(text)
    with pytest.raises(DataError, match=said):
        read(bag(), labels=str(labels))


def test_when_the_steps_to_a_success_are_dropped_expect_no_success(tmp_path):
    done = ("/done", 1900, of_std("Bool", True))
    path = write_bag(tmp_path / "raw", joints() + commands(last_ms=1000) + [done])
    (episodes, _, notes) = read(path, success_topic="/done", max_command_age_s=0.2)
    assert outcomes(episodes) == ["timeout"] and spans(episodes) == [(0.0, 1200.0)]
    assert any("the steps to its success were dropped" in n for n in notes)


def test_when_a_directory_holds_bags_expect_all_and_the_bad_one_named(tmp_path):
    for i in range(2):
        write_bag(tmp_path / "all" / f"bag{i}", joints() + commands())
    write_bag(tmp_path / "all" / "broken", commands())
    episodes, _, notes = read(tmp_path / "all")
    assert len(episodes) == 2 and np.array_equal(episodes[0].states, episodes[1].states)
    assert any("broken: no topic /joint_states for the joint states" in n for n in notes)


def test_when_an_episode_is_short_expect_it_left_out(bag):
    with pytest.raises(DataError, match="only 40 steps of it are left, fewer than 50"):
        read(bag(), min_steps=50)


def test_when_two_options_split_expect_them_refused():
    with pytest.raises(ConfigError, match="labels and episode_topic both say"):
        read(None, robot(), labels="x.csv", episode_topic="/run")
