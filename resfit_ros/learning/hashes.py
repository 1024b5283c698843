"""Identity of what is written to disk or sent."""

import hashlib

SHOWN = 12  # digits of a hash that people get to see


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()
