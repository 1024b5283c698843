"""What one browser is still to be sent: the newest of everything, so that a slow one costs no memory."""

import asyncio
from collections import deque

ANSWERS_KEPT = 32
FRAMES_UNDER_WAY = 2  # sent, and not yet on the screen


class Outbox:
    """Filled by the server, emptied by one sender task; all within one event loop.

    A state or a camera frame that is not sent yet is replaced by the next one. Answers to presses come
    first. Of frames, only so many are under way as the browser keeps up with.
    """

    def __init__(self) -> None:
        self.dropped = 0  # frames that were replaced before they could be sent
        self._filled = asyncio.Event()
        self._answers: deque[str] = deque(maxlen=ANSWERS_KEPT)
        self._state: str | None = None
        self._frame: bytes | None = None
        self._sent = 0  # frames
        self._shown = 0

    @property
    def wants_frame(self) -> bool:
        """Whether the browser has shown what it was sent."""
        return self._sent - self._shown < FRAMES_UNDER_WAY

    def answer(self, text: str) -> None:
        """To be sent before anything else."""
        self._answers.append(text)
        self._filled.set()

    def state(self, text: str) -> None:
        """Replaces a state that is not sent yet."""
        self._state = text
        self._filled.set()

    def frame(self, jpeg: bytes) -> None:
        """Replaces a frame that is not sent yet."""
        self.dropped += self._frame is not None
        self._frame = jpeg
        self._filled.set()

    def forget_frame(self) -> None:
        """The browser looks at another camera."""
        self._frame = None

    def shown(self, number: int) -> None:
        """The browser shows frame `number`, counted from 1; numbers that cannot be are passed over."""
        if self._shown < number <= self._sent:
            self._shown = number
            self._filled.set()

    def take(self) -> str | bytes | None:
        """What to send now: text, or a frame with its number (uint32, big endian) before the JPEG."""
        if self._answers:
            return self._answers.popleft()
        if self._state is not None:
            text, self._state = self._state, None
            return text
        if self._frame is not None and self.wants_frame:
            jpeg, self._frame = self._frame, None
            self._sent += 1
            return self._sent.to_bytes(4, "big") + jpeg
        return None

    async def next(self) -> str | bytes:
        """As `take`, as soon as there is something."""
        while (item := self.take()) is None:
            self._filled.clear()
            await self._filled.wait()
        return item
