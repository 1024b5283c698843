"""What nodes log is shown to whom asked for more."""

from resfit_ros.log_follower import VERBOSE, LogFollower


def test_when_nodes_log_and_more_is_asked_expect_new_lines_with_their_name(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv(VERBOSE, "1")
    (tmp_path / "learner.log").write_text("of an earlier run\n")
    follower = LogFollower(tmp_path, ["learner", "recorder"])
    follower.start()
    with (tmp_path / "learner.log").open("a") as log:
        log.write("resumed at 100 steps\nunfinish")
    (tmp_path / "recorder.log").write_text("recording\n")
    follower.stop()
    assert sorted(capsys.readouterr().err.splitlines()) == ["[learner] resumed at 100 steps", "[recorder] recording"]


def test_when_nobody_asked_for_more_expect_no_logs(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv(VERBOSE, raising=False)
    follower = LogFollower(tmp_path, ["learner"])
    follower.start()
    (tmp_path / "learner.log").write_text("a line\n")
    follower.stop()
    assert capsys.readouterr().err == ""
