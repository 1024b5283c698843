"""Critics pretrained on bags, into a run directory that fine-tuning starts from."""

import dataclasses
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import resfit_ros
from resfit_ros.bringup import RunConfig, node_parameters
from resfit_ros.core.errors import ConfigError, DataError, MismatchError
from resfit_ros.core.parameters import LearnerParameters
from resfit_ros.core.run_layout import CHECKPOINTS
from resfit_ros.core.transitions import AssembledEpisode
from resfit_ros.core.types import Outcome
from resfit_ros.core.whole_file import write_json
from resfit_ros.data.offline_data import (
    OnNote,
    RecordedData,
    kept_episodes,
    prepare_recorded,
    refuse_fine_tuned,
)
from resfit_ros.data.read_bags import bag_paths
from resfit_ros.graphs import CHUNK_SETTINGS, base_policy_of, camera_settings
from resfit_ros.learning.checkpoint import checkpoints, restore_newest, save_checkpoint
from resfit_ros.learning.held_out import calibrate, split_held_out
from resfit_ros.learning.pretraining import PretrainingRecord, pretrain
from resfit_ros.learning.schedule import Pretraining
from resfit_ros.learning.trainer import Trainer
from resfit_ros.runner.pretraining_plots import plot_calibration, plot_td_errors

RESULT, TD_ERRORS, CALIBRATION = "pretraining.json", "pretraining_td.png", "pretraining_calibration.png"
DEFAULT_UPDATES = 3_000

Progress = Callable[[float, float, str], None]


def pretraining_parameters(
    config: RunConfig,
    run_dir: Path,
    policy: str | None,
    settings: Mapping[str, Any],
    updates: int | None = None,
    demos: Path | None = None,
) -> LearnerParameters:
    """The learner's parameters for pretraining into `run_dir`; `settings`: of the algorithm.

    demos: folder of demonstrations; None: the successes among the bags are taken for them.

    Raises ConfigError naming a wrong setting.
    """
    values = camera_settings(config) | {k: config.parameters("base_policy")[k] for k in CHUNK_SETTINGS}
    values |= dict(settings) | {"run_dir": str(run_dir), "policy": base_policy_of(config, policy)}
    asked = settings.get("pretrain_updates") or config.section("learner").get("pretrain_updates")
    values["pretrain_updates"] = updates or asked or DEFAULT_UPDATES
    values["demo_dir"] = str(demos) if demos else ""
    return node_parameters(config, "learner", values)


def refuse_begun(run_dir: Path) -> None:
    """Raises MismatchError where `run_dir` has been fine-tuned or pretrained already."""
    refuse_fine_tuned(run_dir)
    if checkpoints(run_dir / CHECKPOINTS):
        raise MismatchError(
            f"{run_dir / CHECKPOINTS}: holds a checkpoint already; choose another --out, or remove that folder"
        )


def pretrain_from_bags(
    p: LearnerParameters,
    directories: Sequence[Path],
    held_out_fraction: float,
    on_progress: Progress = lambda d, t, w: None,
    on_note: OnNote = lambda sentence: None,
) -> dict[str, Any]:
    """Reads, labels, learns, and writes checkpoint, pictures and pretraining.json; returns the latter.

    Raises ConfigError, DataError or MismatchError naming what is wrong, before anything is learnt.
    """
    run_dir = Path(p.run_dir)
    refuse_begun(run_dir)
    if p.demo_dir and Path(p.demo_dir).resolve() in [d.resolve() for d in directories]:
        raise ConfigError(f"{p.demo_dir}: given as demonstrations and as bags; give it once")
    if p.device != "cpu" and not torch.cuda.is_available():
        raise ConfigError(f"device '{p.device}' is not available to torch; set device to cpu")
    notes: list[str] = []

    def note(sentence: str) -> None:
        notes.append(sentence)
        on_note(sentence)

    in_all = p.pretrain_updates + p.warm_start_updates
    data = prepare_recorded(
        p, directories, note, lambda done, n: on_progress(0, in_all, f"base actions of {done} of {n} episodes")
    )
    learnt, held_out = split_held_out(data.episodes, held_out_fraction, p.seed)
    trainer = _trainer(p, data, learnt, directories)
    record = pretrain(trainer, held_out, on_progress)
    return _write(run_dir, p, data, trainer, record, learnt, held_out, notes)


def _trainer(
    p: LearnerParameters, data: RecordedData, learnt: Sequence[AssembledEpisode], directories: Sequence[Path]
) -> Trainer:
    trainer = Trainer(p.learning, data.base.normaliser, p.device, p.cameras, data.base.sha256)
    trainer.add_demonstrations(data.base.demonstrations)
    trainer.successes_demonstrate = not p.demo_dir
    # Bag by bag: a folder may hold others by the time the run is resumed.
    trainer.before = Pretraining(bags=tuple(str(b.resolve()) for d in directories for b in bag_paths(d)))
    for episode in learnt:
        trainer.add_recorded(episode)
    return trainer


def _write(
    run_dir: Path,
    p: LearnerParameters,
    data: RecordedData,
    trainer: Trainer,
    record: PretrainingRecord,
    learnt: Sequence[AssembledEpisode],
    held_out: Sequence[AssembledEpisode],
    notes: Sequence[str],
) -> dict[str, Any]:
    about = {"base_policy": dict(data.base.record), "joint_names": list(p.joint_names), "episodes": 0}
    checkpoint = save_checkpoint(run_dir / CHECKPOINTS, trainer, about | {"config": _settings(p)})
    calibration = calibrate(trainer, held_out or learnt)
    result = {
        "checkpoint": str(checkpoint.relative_to(run_dir)),
        "updates": trainer.agent.critic_updates,
        "actor_updates": trainer.agent.actor_updates,
        "bags": list(trainer.before.bags),
        "demonstrations": p.demo_dir,
        "data": _counts(learnt),
        "held_out": _counts(held_out),
        "held_out_episodes": [e.end.episode_id for e in held_out],
        "demonstration_steps": len(trainer.demonstrations),
        "left_out": list(notes),
        "errors": dataclasses.asdict(record),
        "calibrated_on": "held-out episodes" if held_out else "training episodes",
        "calibration": calibration.figures() | {"bins": calibration.binned()},
        "base_policy": data.base.record["name"],
        "base_policy_sha256": data.base.sha256,
        "settings": _settings(p),
        "versions": {
            "resfit_ros": resfit_ros.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }
    plot_td_errors(record, run_dir / TD_ERRORS)
    plot_calibration(calibration, result["calibrated_on"], run_dir / CALIBRATION)
    write_json(run_dir / RESULT, result)
    return result


def _settings(p: LearnerParameters) -> dict[str, Any]:
    return dataclasses.asdict(p.learning)


def _counts(episodes: Sequence[AssembledEpisode]) -> dict[str, int]:
    counts = {"episodes": len(episodes), "steps": sum(len(s) for e in episodes for s in e.segments)}
    for outcome in (Outcome.SUCCESS, Outcome.FAILURE, Outcome.TIMEOUT):
        counts[outcome.name.lower()] = sum(e.end.outcome is outcome for e in episodes)
    return counts


def start_from(trainer: Trainer, p: LearnerParameters, run_dir: Path, on_note: OnNote) -> Path:
    """Restores the pretrained checkpoint of `run_dir` into a trainer, with the data it keeps.

    Demonstrations, where there are any, are in the trainer already. Returns the checkpoint's path.
    Raises DataError when there is none, MismatchError when it does not fit.
    """
    path, problems = restore_newest(run_dir / CHECKPOINTS, trainer)
    if path is None:
        raise DataError(
            f"{run_dir / CHECKPOINTS}: no checkpoint to start from; make one with 'resfit pretrain' "
            f"{'; '.join(problems)}".rstrip()
        )
    trainer.successes_demonstrate = not len(trainer.demonstrations)
    for episode in kept_episodes(trainer.before.bags, p, on_note):
        trainer.add_recorded(episode, p.keep_offline_data)
    return path
