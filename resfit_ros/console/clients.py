"""The browsers that are connected: what each watches, and what goes to which of them."""

from dataclasses import dataclass, field

from resfit_ros.console.outbox import Outbox

MOST_CLIENTS = 16


@dataclass(eq=False)
class Client:
    """One browser whose token was right; camera: the one it shows."""

    outbox: Outbox = field(default_factory=Outbox)
    camera: str | None = None


class Clients:
    """All of them; used from one event loop alone."""

    def __init__(self) -> None:
        self.refused = 0  # messages, requests and connections since the start
        self._all: set[Client] = set()
        self._dropped = 0  # frames of clients that are gone

    def __len__(self) -> int:
        return len(self._all)

    @property
    def full(self) -> bool:
        """Whether no more are taken."""
        return len(self._all) >= MOST_CLIENTS

    @property
    def frames_dropped(self) -> int:
        """Since the start."""
        return self._dropped + sum(c.outbox.dropped for c in self._all)

    def add(self, client: Client) -> None:
        """It is sent states from now on."""
        self._all.add(client)

    def remove(self, client: Client) -> None:
        """It is gone."""
        self._all.discard(client)
        self._dropped += client.outbox.dropped

    def cameras(self) -> set[str]:
        """Those that somebody who can take a frame looks at."""
        return {c.camera for c in self._all if c.camera is not None and c.outbox.wants_frame}

    def tell(self, text: str) -> None:
        """A new state, to everybody."""
        for client in self._all:
            client.outbox.state(text)

    def show(self, camera: str, jpeg: bytes) -> None:
        """A new frame, to those who look at that camera."""
        for client in self._all:
            if client.camera == camera:
                client.outbox.frame(jpeg)
