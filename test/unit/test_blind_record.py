"""The order of an evaluation stays secret until the end, and no finished episode is lost."""

import base64
import json
from pathlib import Path

import pytest

from resfit_ros.cli.evaluate import _finish
from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.core.types import Outcome
from resfit_ros.learning.blind_record import BlindRecord, commitment, files, is_unfinished, lock, random_seed
from resfit_ros.learning.evaluation import Result, schedule
from resfit_ros.learning.evaluation_result import ALL_RUN, BY_HAND, why_over, write_result

pytest.importorskip("rclpy", reason="rclpy is not installed; run 'make setup'")

from resfit_ros.phases import _evaluated_so_far  # noqa: E402

ARMS = ["base", "finetuned"]
PLAN = {
    "arms": ARMS,
    "episodes": 20,
    "scene_seed": 500,
    "seed": -1,
    "matched": True,
    "sequential": True,
    "alpha": 0.05,
    "min_difference": 0.0,
    "setup": {"policy": "p", "command": "resfit evaluate", "commit": "1"},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "evaluation.json"


def begun(path: Path, **changes) -> BlindRecord:
    plan = PLAN | changes
    return BlindRecord.begin(path, plan, schedule(plan["arms"], plan["episodes"], 500, seed=3))


def run(record: BlindRecord, count: int, wins: tuple[str, ...] = ("finetuned",)) -> None:
    """Runs trials; the arms in `wins` succeed, the others time out."""
    for _ in range(count):
        trial = record.trials[record.next_position]
        outcome = Outcome.SUCCESS if trial.arm in wins else Outcome.TIMEOUT
        record.add(Result(trial, record.last_episode_id + 1, outcome, 60))


def test_when_begun_expect_the_promise_to_be_the_hash_of_order_and_nonce(path):
    record = begun(path)
    promised = files(path)[1].read_text().split()[0]
    assert promised == record.commitment == commitment(record.nonce, record.order)
    other = [record.order[1], record.order[0], *record.order[2:]]
    assert commitment(record.nonce, other) != promised


def test_when_the_order_is_the_same_expect_another_promise_each_time(path, tmp_path):
    assert begun(path).commitment != begun(tmp_path / "b.json").commitment


def test_when_seeds_are_drawn_expect_no_two_alike():
    assert len({random_seed() for _ in range(50)}) == 50


def test_when_it_runs_expect_no_file_to_name_an_arm(path):
    record = begun(path)
    run(record, 7)
    for file in path.parent.iterdir():
        assert b"finetuned" not in file.read_bytes()
        assert b"base" not in file.read_bytes()
    sealed = files(path)[0]
    assert b"finetuned" not in base64.b64decode(sealed.read_bytes())
    assert sealed.stat().st_mode & 0o077 == 0


def test_when_resumed_expect_order_results_and_place(path):
    record = begun(path)
    run(record, 5)
    again = BlindRecord.resume(path)
    assert (again.trials, again.results, again.next_position) == (record.trials, record.results, 5)
    assert is_unfinished(path)


def test_when_an_episode_was_aborted_expect_its_trial_again_and_its_number_used_up(path):
    record = begun(path)
    trial = record.trials[0]
    record.add(Result(trial, 1, Outcome.ABORTED, 3))
    assert (record.next_position, record.last_episode_id) == (0, 1)
    assert BlindRecord.resume(path).next_position == 0


def test_when_killed_while_writing_expect_the_half_line_dropped_and_the_next_one_whole(path):
    record = begun(path)
    run(record, 3)
    journal = files(path)[2]
    journal.write_bytes(journal.read_bytes() + b'{"position": 3, "outc')
    again = BlindRecord.resume(path)
    assert again.next_position == 3
    run(again, 1)
    assert BlindRecord.resume(path).next_position == 4


@pytest.mark.parametrize("line", ["{}", '{"position": 99}', "[]", "no", '{"position": 0, "outcome": "won"}'])
def test_when_a_whole_line_is_damaged_expect_it_named(path, line):
    begun(path)
    files(path)[2].write_text(line + "\n")
    with pytest.raises(DataError, match="line 1"):
        BlindRecord.resume(path)


def test_when_a_line_stands_twice_expect_the_second_named(path):
    record = begun(path)
    run(record, 2)
    journal = files(path)[2]
    journal.write_bytes(journal.read_bytes() + journal.read_bytes().splitlines(keepends=True)[1])
    with pytest.raises(DataError, match="line 3: .*episode 2 of the order is next, not 1"):
        BlindRecord.resume(path)


def test_when_an_evaluation_runs_there_expect_a_second_one_refused_until_it_ends(path):
    with lock(path), pytest.raises(ConfigError, match="an evaluation is running there"):
        lock(path)
    lock(path).close()


def test_when_an_evaluation_runs_there_expect_it_neither_ended_by_hand_nor_started_over(path):
    run(begun(path), 3)
    kept = {file: file.read_bytes() for file in files(path)}
    with lock(path):
        with pytest.raises(ConfigError, match="an evaluation is running there"):
            _finish(path)
        for resume in (False, True):
            with pytest.raises(ConfigError, match="an evaluation is running there"):
                _evaluated_so_far(path, None, resume)
    assert not path.exists() and {file: file.read_bytes() for file in files(path)} == kept
    assert _finish(path)["episodes_run"] == 3


@pytest.mark.parametrize("data", [b"", b"not base64!", base64.b64encode(b"not zlib")])
def test_when_the_sealed_order_is_damaged_expect_refusal(path, data):
    begun(path)
    files(path)[0].write_bytes(data)
    with pytest.raises(DataError, match="cannot be read"):
        BlindRecord.resume(path)


def test_when_the_order_is_not_the_one_promised_expect_refusal(path):
    begun(path)
    files(path)[1].write_text("0" * 64 + "\n")
    with pytest.raises(DataError, match="promised"):
        BlindRecord.resume(path)


def test_when_settings_differ_expect_each_named_and_provenance_passed_over(path):
    record = begun(path)
    record.require_plan(PLAN | {"setup": PLAN["setup"] | {"commit": "2", "command": "again"}})
    with pytest.raises(ConfigError, match="alpha was 0.05, is 0.01; policy was 'p', is 'q'"):
        record.require_plan(PLAN | {"alpha": 0.01, "setup": {"policy": "q"}})


def test_when_finished_expect_the_result_the_order_and_the_seal_gone(path):
    record = begun(path, sequential=False)
    run(record, 40)
    assert why_over(record) == ALL_RUN
    result = write_result(record, path, ALL_RUN)
    assert json.loads(path.read_text()) == json.loads(json.dumps(result))
    opened = result["commitment"]
    assert commitment(opened["nonce"], opened["order"]) == opened["sha256"]
    assert not files(path)[0].exists() and not is_unfinished(path)
    lines = (path.parent / "episodes.csv").read_text().splitlines()
    assert len(lines) == 41 and lines[0].startswith("arm,scene_seed,block,episode_id,outcome,success")


def test_when_one_arm_always_wins_expect_the_end_after_eight_blocks(path):
    record = begun(path)
    ends = []
    while not (why := why_over(record)):
        run(record, 1)
        ends.append(why)
    assert (why, record.next_position) == ("difference", 16)


def test_when_all_episodes_are_wanted_expect_no_early_end(path):
    record = begun(path, sequential=False)
    run(record, 30)
    assert why_over(record) == ""


def test_when_a_block_is_half_done_expect_no_end(path):
    record = begun(path)
    run(record, 17)
    assert why_over(record) == ""


def test_when_ended_by_hand_expect_the_result_to_say_so(path):
    record = begun(path)
    run(record, 5)
    result = write_result(BlindRecord.resume(path), path, BY_HAND)
    assert (result["ended"], result["episodes_run"], result["stopped_early"]) == ("by_hand", 5, True)
    assert result["sequential"]["pairs"] == 2
