"""TensorBoard shows what /resfit/learner_status says, under the same names."""

import dataclasses
import re
from pathlib import Path

import pytest
from builders import identity_normaliser, small_config

from resfit_ros.core.run_layout import TENSORBOARD
from resfit_ros.learning.log import LearningLog
from resfit_ros.learning.trainer import Trainer
from resfit_ros.learning.worker import LearnerWorker, Progress

MESSAGE = Path(__file__).resolve().parents[2] / "msg" / "LearnerStatus.msg"
NUMBERS = r"^(?:u?int\d+|float32) (\w+)\s+#"


def status_scalars() -> set[str]:
    return set(re.findall(NUMBERS, MESSAGE.read_text(), re.MULTILINE))


@pytest.fixture
def progress(tmp_path: Path) -> Progress:
    """Of a learner whose every figure is known."""
    worker = LearnerWorker(Trainer(small_config(), identity_normaliser(3, 2)), tmp_path, {}, 1e9, lambda _: None)
    now = worker.progress()
    own = {f.name for f in dataclasses.fields(Progress)} | {"dead_share", "gradient_updates"}
    figures = dict.fromkeys(status_scalars() - own, 0.5) | {"dead_share_critic": 0.1, "dead_share_actor": 0.3}
    return dataclasses.replace(now, success_rate=0.5, metrics=now.metrics | figures)


def written(run_dir: Path) -> dict[str, float]:
    """Newest value of each curve."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(run_dir / TENSORBOARD)).Reload()
    return {tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"]}


def test_when_the_learner_logs_expect_every_scalar_of_its_status_as_a_curve(tmp_path: Path, progress: Progress):
    log = LearningLog(tmp_path)
    log.write(progress, ())
    log.close()
    curves = written(tmp_path)
    assert {f"learner/{name}" for name in status_scalars()} - set(curves) == set()
    assert curves["learner/dead_share"] == pytest.approx(0.3)


@pytest.mark.parametrize("name", ["replay_size", "demo_size", "actor_version"])
def test_when_the_sizes_change_expect_the_progress_to_say_so(name: str):
    assert name in {f.name for f in dataclasses.fields(Progress)}
