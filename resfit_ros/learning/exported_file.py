"""The one file an actor is exported to: a zip archive of plain, stored files with their hashes.

Nothing in it is ever unpacked to disk, nothing is compressed and nothing is a pickle. The same contents
give the same bytes, so that the file's own SHA-256 identifies it.
"""

import json
import os
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from resfit_ros.core.errors import DataError, MismatchError
from resfit_ros.learning.hashes import sha256

SUFFIXES = (".resfit", ".zip")
FORMAT, VERSION = "resfit residual actor", 1
MANIFEST, NORMALISER, HASHES = "manifest.json", "normaliser.json", "SHA256SUMS"
ONNX_GRAPH, TORCH_GRAPH, FEATURES = "actor.onnx", "actor.pt2", "features.pt"
KNOWN = (MANIFEST, NORMALISER, ONNX_GRAPH, TORCH_GRAPH, FEATURES, HASHES)
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the first instant a zip archive can hold
LARGEST_BYTES = 1 << 31


def is_exported(path: Path) -> bool:
    """Whether a path names an exported actor rather than a directory of checkpoints."""
    return path.is_file() or (path.suffix in SUFFIXES and not path.is_dir())


def canonical(values: Mapping[str, Any]) -> bytes:
    """JSON that is the same for the same values."""
    return (json.dumps(values, indent=1, sort_keys=True) + "\n").encode()


def write_exported(path: Path, files: Mapping[str, bytes]) -> str:
    """Writes name to contents, whole or not at all, and returns the SHA-256 of the file."""
    entries = dict(sorted(files.items()))
    entries[HASHES] = _hash_list(entries)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as stream:
            _write_archive(stream, entries)
            stream.flush()
            os.fsync(stream.fileno())
        digest = sha256(partial.read_bytes())
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        why = error.strerror or error
        raise DataError(f"{path}: not written ({why}); choose another place or free it") from None
    return digest


def _write_archive(stream: Any, entries: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            information = zipfile.ZipInfo(name, LONG_AGO)
            information.create_system, information.external_attr = 3, 0o644 << 16
            archive.writestr(information, data)


def _hash_list(files: Mapping[str, bytes]) -> bytes:
    return "".join(f"{sha256(data)}  {name}\n" for name, data in files.items()).encode()


def read_exported(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(manifest, name to contents of the other files), all hashes checked.

    Raises DataError when the file is damaged or no exported actor, MismatchError when a later release wrote
    it.
    """
    files = _read_archive(path)
    hashes = files.pop(HASHES, b"")
    if hashes != _hash_list(dict(sorted(files.items()))):
        raise DataError(f"{path}: the files in it do not match its {HASHES}; copy or export it again")
    manifest = _manifest(path, files.pop(MANIFEST, b""))
    lacking = {NORMALISER, manifest["graph"]} - files.keys()
    if lacking:
        raise DataError(f"{path}: lacks {', '.join(sorted(lacking))}; export it again")
    return manifest, files


def _read_archive(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _require_plain(path, entries)
            return {entry.filename: archive.read(entry) for entry in entries}
    except FileNotFoundError:
        words = f"no such file; make one with 'resfit export CHECKPOINT {path.name}'"
        raise DataError(f"{path}: {words}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        # zipfile raises each of these on some kind of damage.
        words = f"cut short, damaged or no exported actor ({error}); copy or export it again"
        raise DataError(f"{path}: {words}") from None


def _require_plain(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Refuses names that are not ours, such as ../x, names that come twice, and what would unpack to more."""
    names = [entry.filename for entry in entries]
    for name in names:
        if name not in KNOWN:
            words = f"holds '{name}', which is no part of an exported actor; use a file of 'resfit export'"
            raise DataError(f"{path}: {words}")
        if names.count(name) > 1:
            raise DataError(f"{path}: holds {name} twice; export it again")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise DataError(f"{path}: its files are compressed, so it was packed anew; use the file as exported")
    if sum(entry.file_size for entry in entries) > LARGEST_BYTES:
        raise DataError(f"{path}: claims to hold more than {LARGEST_BYTES >> 30} GiB; copy or export it again")


def _manifest(path: Path, data: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(data)
        kind, version = manifest["format"], manifest["version"]
    except (ValueError, LookupError, TypeError):
        raise DataError(f"{path}: has no readable {MANIFEST}; export it again") from None
    if kind != FORMAT or not isinstance(version, int):
        raise DataError(f"{path}: is no exported actor; use a file of 'resfit export'")
    if version > VERSION:
        raise MismatchError(
            f"{path}: written by a later release (format {version}, this one reads up to {VERSION}); update "
            "resfit_ros, or export it with this release"
        )
    if manifest.get("graph") not in (ONNX_GRAPH, TORCH_GRAPH):
        raise DataError(f"{path}: its {MANIFEST} names no known graph; export it again")
    return manifest
