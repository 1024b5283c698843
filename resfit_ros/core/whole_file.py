"""Files that are written whole or not at all: a stop at any point leaves the old file or the new one."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_whole(path: Path, data: bytes | str, mode: int = 0o666) -> None:
    """mode: permissions of a new file, less the process's umask. Raises OSError."""
    partial = path.with_name(f".{path.name}.partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """`write_whole` of values that JSON has."""
    write_whole(path, json.dumps(values, indent=1) + "\n")
