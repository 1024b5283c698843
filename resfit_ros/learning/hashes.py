"""Identity of what is written to disk or sent."""

import hashlib


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()
