"""What an import or export tells of what it left out, without saying the same thing for every episode."""

from collections.abc import Callable


class Notes:
    """Passes sentences on to `on_note`."""

    def __init__(self, on_note: Callable[[str], None]) -> None:
        self._on_note = on_note
        self._said: set[str] = set()

    def __call__(self, words: str) -> None:
        """Says it."""
        self._on_note(words)

    def once(self, words: str) -> None:
        """Says it unless it was said already."""
        if words not in self._said:
            self._said.add(words)
            self._on_note(words)


def listed(numbers: list[int], most: int = 5) -> str:
    """The first few numbers in words, e.g. "3, 4, 5 and 9 more"."""
    first = ", ".join(map(str, numbers[:most]))
    return f"{first} and {len(numbers) - most} more" if len(numbers) > most else first
