"""Bags as Foxglove's own libraries read them: the same numbers, and every checksum right."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from builders import episode_messages
from serialised import write_bag

from resfit_ros.core.types import Outcome
from resfit_ros.data.mcap_scan import RawMessages
from resfit_ros.data.read_bags import read_messages

SCRIPT = Path(__file__).with_name("foxglove_reader.cjs")
PACKAGES = ("@mcap/core", "@foxglove/rosmsg", "@foxglove/rosmsg2-serialization")
NUMBERS = ("state", "base", "residual", "command", "action")


@pytest.fixture
def node() -> str:
    """Node.js, with Foxglove's packages in NODE_PATH."""
    program = shutil.which("node")
    modules = [Path(p) for p in os.environ.get("NODE_PATH", "").split(":") if p]
    if program is None or not all(any((m / name).is_dir() for m in modules) for name in PACKAGES):
        pytest.skip(f"node and the npm packages {', '.join(PACKAGES)} in NODE_PATH are not there")
    return program


def test_when_foxglove_reads_a_bag_expect_every_message_and_the_same_bits(node, tmp_path):
    given = episode_messages(np.random.default_rng(3), 25, Outcome.SUCCESS, 1, image_shape=(24, 32, 3))
    write_bag(tmp_path, given)
    (file,) = tmp_path.glob("*/*.mcap")
    told = subprocess.run([node, SCRIPT, file], capture_output=True, text=True, timeout=60, check=True).stdout
    seen = [json.loads(line) for line in told.splitlines()]
    raw = list(RawMessages(file))
    assert [(s["topic"], int(s["received_ns"])) for s in seen] == [(m.topic, m.received_ns) for m in raw]

    ours = list(read_messages(file.parent))
    assert len(ours) == len(seen) == len(given)
    for theirs, message in zip(seen, ours, strict=True):
        for name in NUMBERS:
            if hasattr(message, name):
                assert theirs[name] == np.asarray(getattr(message, name), np.float32).tobytes().hex()
        if hasattr(message, "images"):
            assert theirs["images"] == [image.tobytes().hex() for image in message.images]
