"""The order of an evaluation under seal, and each episode on disk as soon as it has ended.

Beside evaluation.json, while the evaluation runs:

    .evaluation.sealed          the order, compressed, so that no glance at it tells anything; gone at the end
    evaluation.commitment       SHA-256 of the order with a random number, fixed before the first episode
    evaluation.episodes.jsonl   one line per episode, without its arm
    .evaluation.lock            held by whoever writes here; the empty file stays
"""

import base64
import binascii
import fcntl
import hashlib
import json
import os
import secrets
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.core.types import Outcome
from resfit_ros.core.whole_file import write_json, write_whole
from resfit_ros.learning.evaluation import Result, Trial

FIELDS = ("episode_id", "steps", "interventions", "as_planned", "seconds", "labelled_by")
NOT_COMPARED = ("begun", "command", "commit", "version")  # of the setup: may differ when it goes on
PRIVATE = 0o600  # while it runs, of what tells who acts
RANDOM_BITS = 62  # a seed that nobody can try out


def commitment(nonce: str, order: Sequence[Mapping[str, Any]]) -> str:
    """Hexadecimal SHA-256 of the nonce and the order: {"arm", "scene_seed", "block"} of each trial."""
    text = json.dumps(
        {"nonce": nonce, "order": [dict(t) for t in order]}, sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(text.encode()).hexdigest()


def random_seed() -> int:
    """A seed from the operating system."""
    return secrets.randbits(RANDOM_BITS)


def files(result_path: Path) -> tuple[Path, Path, Path]:
    """(sealed order, commitment, journal) that belong to a result."""
    stem = result_path.stem
    sealed = result_path.with_name(f".{stem}.sealed")
    return (
        sealed,
        result_path.with_name(f"{stem}.commitment"),
        result_path.with_name(f"{stem}.episodes.jsonl"),
    )


def is_unfinished(result_path: Path) -> bool:
    """Whether an evaluation was begun there and has not written its result."""
    return files(result_path)[0].is_file() and not result_path.exists()


def lock(result_path: Path) -> IO[bytes]:
    """Nobody else runs or ends an evaluation there until the file is closed, or the process has ended.

    Raises ConfigError where somebody does.
    """
    file = result_path.with_name(f".{result_path.stem}.lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if not isinstance(error, BlockingIOError):
            words = f"cannot be locked ({error}); choose a local disk"
        else:
            words = "an evaluation is running there; wait for it, stop it, or choose a new directory"
        raise ConfigError(f"{result_path.parent}: {words}") from None
    return file


class BlindRecord:
    """An evaluation under way: what is to be run, and what has been."""

    def __init__(self, result_path: Path, sealed: Mapping[str, Any]) -> None:
        """Use `begin` or `resume`."""
        self._path = result_path
        self.plan: dict[str, Any] = dict(sealed["plan"])
        self.nonce: str = sealed["nonce"]
        self.order: list[dict[str, Any]] = list(sealed["order"])
        self.trials = [Trial(**t) for t in self.order]
        self.results: list[Result] = []

    @classmethod
    def begin(cls, result_path: Path, plan: Mapping[str, Any], trials: Sequence[Trial]) -> "BlindRecord":
        """Seals the order in; what an evaluation before left there is removed.

        plan: settings, plain JSON, that a resumption must share.
        """
        for path in files(result_path):
            path.unlink(missing_ok=True)
        order = [vars(trial) for trial in trials]
        sealed = {"plan": dict(plan), "nonce": secrets.token_hex(16), "order": order}
        record = cls(result_path, json.loads(json.dumps(sealed)))
        data = base64.b64encode(zlib.compress(json.dumps(sealed).encode()))
        path, promise, _ = files(result_path)
        write_whole(promise, f"{record.commitment}  order of {len(order)} episodes\n", PRIVATE)
        write_whole(path, data, PRIVATE)
        return record

    @classmethod
    def resume(cls, result_path: Path) -> "BlindRecord":
        """Goes on with what is there; half a line at the end of the journal is dropped.

        Raises DataError when the order or the journal cannot be read.
        """
        sealed, promise, journal = files(result_path)
        try:
            values = json.loads(zlib.decompress(base64.b64decode(sealed.read_bytes())))
            record = cls(result_path, values)
        except (OSError, ValueError, KeyError, TypeError, zlib.error, binascii.Error) as error:
            raise DataError(
                f"{sealed}: the order of the evaluation cannot be read ({error}); start a new one"
            ) from None
        promised = promise.read_text().split()[:1] if promise.is_file() else []
        if promised != [record.commitment]:
            raise DataError(
                f"{sealed}: the order is not the one that {promise.name} promised; start a new evaluation"
            )
        record._read_journal(journal)
        return record

    def _read_journal(self, journal: Path) -> None:
        lines = journal.read_bytes().splitlines(keepends=True) if journal.is_file() else []
        whole = [line for line in lines if line.endswith(b"\n")]
        if len(whole) < len(lines):
            write_whole(journal, b"".join(whole), PRIVATE)
        for number, line in enumerate(whole, 1):
            try:
                values = json.loads(line)
                position, following = values["position"], self.next_position
                if position != following:
                    raise ValueError(f"episode {following} of the order is next, not {position!r}")
                outcome = Outcome[values["outcome"].upper()]
                fields = {name: values[name] for name in FIELDS}
                self.results.append(Result(trial=self.trials[position], outcome=outcome, **fields))
            except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
                raise DataError(
                    f"{journal}, line {number}: cannot be read ({error}); start a new evaluation"
                ) from None

    def require_plan(self, plan: Mapping[str, Any]) -> None:
        """Raises ConfigError naming each setting that differs from the one it was begun with."""
        was, wanted = _compared(self.plan), _compared(json.loads(json.dumps(dict(plan))))
        differ = [k for k in sorted({*was, *wanted}) if was.get(k) != wanted.get(k)]
        if differ:
            pairs = "; ".join(f"{k} was {was.get(k)!r}, is {wanted.get(k)!r}" for k in differ)
            raise ConfigError(
                f"{self._path.parent}: an evaluation with other settings was begun there: {pairs}; repeat "
                "them to go on with it, or choose a new directory"
            )

    @property
    def commitment(self) -> str:
        """What was promised of the order."""
        return commitment(self.nonce, self.order)

    @property
    def next_position(self) -> int:
        """Index of the trial to be run now; a trial whose episode was aborted is run again."""
        return sum(r.outcome is not Outcome.ABORTED for r in self.results)

    @property
    def last_episode_id(self) -> int:
        """Highest episode id used; 0: none."""
        return max((r.episode_id for r in self.results), default=0)

    def add(self, result: Result) -> None:
        """Keeps the result of the trial at `next_position`, on the disk when this returns."""
        line = {"position": self.next_position, "outcome": result.outcome.name.lower()}
        line |= {name: getattr(result, name) for name in FIELDS}
        journal = files(self._path)[2]
        with journal.open("ab") as file:
            file.write((json.dumps(line) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
        self.results.append(result)

    def unseal(self) -> dict[str, Any]:
        """What lets anybody check the promise."""
        return {"sha256": self.commitment, "nonce": self.nonce, "order": self.order}

    def finish(self, result: Mapping[str, Any]) -> None:
        """Writes the result in one piece and removes the seal."""
        write_json(self._path, result)
        files(self._path)[0].unlink(missing_ok=True)


def _compared(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The settings side by side, those of the setup among them."""
    flat = {k: v for k, v in plan.items() if k != "setup"}
    return flat | {k: v for k, v in plan.get("setup", {}).items() if k not in NOT_COMPARED}
