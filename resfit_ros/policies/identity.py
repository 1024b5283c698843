"""What makes two base policies the same: the bytes they are made of, and how they are used."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from resfit_ros.core.errors import DataError, MismatchError
from resfit_ros.core.whole_file import write_json
from resfit_ros.learning.hashes import SHOWN
from resfit_ros.policies.protocol import PolicySpec

RECORD = "base_policy.json"  # in a run directory
BLOCK = 1 << 20  # bytes


def identity_of(files: Iterable[Path] = (), about: Mapping[str, Any] | None = None) -> str:
    """SHA-256 over the contents of `files`, in order, and over `about` (plain JSON).

    Raises DataError naming a file that cannot be read.
    """
    digest = hashlib.sha256()
    for file in files:
        try:
            with file.open("rb") as stream:
                while block := stream.read(BLOCK):
                    digest.update(block)
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error.strerror}); check the policy's path") from None
    if about:
        digest.update(json.dumps(about, sort_keys=True, separators=(",", ":")).encode())
    return digest.hexdigest()


def shown_name(kind: str, identity: str) -> str:
    """How logs, diagnostics and messages name a policy."""
    return f"{kind}:{identity[:SHOWN]}"


def controller_identity(name: str) -> str:
    """Identity of an existing controller: all that is known of it is what its owner calls it."""
    return hashlib.sha256(f"topic:{name}".encode()).hexdigest() if name else ""


def controller_record(name: str) -> dict[str, Any]:
    """What a run remembers of an existing controller."""
    return {"name": name or "unnamed controller", "sha256": controller_identity(name), "config": {"kind": "topic"}}


def policy_record(spec: PolicySpec) -> dict[str, Any]:
    """What a run remembers of its base policy."""
    return {"name": spec.name, "sha256": spec.identity, "config": dict(spec.config)}


def keep_record(run_dir: Path, record: Mapping[str, Any]) -> None:
    """Writes the record of the base policy into a run directory.

    Raises MismatchError, naming both, where the run was begun on top of another one.
    """
    path = run_dir / RECORD
    try:
        kept = json.loads(path.read_text())
        theirs, their_name = kept["sha256"], kept["name"]
    except FileNotFoundError:
        run_dir.mkdir(parents=True, exist_ok=True)
        write_json(path, record)
        return
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: damaged ({error}); remove it to keep the run with the base policy at hand") from None
    if theirs and record["sha256"] and theirs != record["sha256"]:
        raise MismatchError(
            f"{run_dir}: this run was begun on top of base policy '{their_name}' ({theirs[:SHOWN]}), now it is "
            f"'{record['name']}' ({record['sha256'][:SHOWN]}); use that policy, or another run directory"
        )
