"""Joint states of one robot from any number of publishers, each with part of the joints."""

from collections.abc import Mapping, Sequence

import numpy as np

from resfit_ros.core.errors import ShapeError
from resfit_ros.core.observation import SourceValue
from resfit_ros.core.types import Float64

KNOWN_ORDERS = 64  # name lists remembered; a publisher that makes up new ones must not fill the memory


class JointStates:
    """Keeps the newest value of each configured joint; joints that are not configured are ignored."""

    def __init__(self, joint_names: Sequence[str], blocks: Sequence[str]) -> None:
        """blocks: which of joint_positions, joint_velocities, joint_efforts are needed."""
        self.joint_names = tuple(joint_names)
        self.blocks = tuple(blocks)
        self._orders: dict[tuple[str, ...], tuple[np.ndarray, np.ndarray]] = {}
        self.forget()

    def forget(self) -> None:
        """Drops every joint's value."""
        count = len(self.joint_names)
        self._values = {block: np.zeros(count) for block in self.blocks}
        self._stamps_ns = np.full(count, -1, np.int64)
        self._received_ns = np.zeros(count, np.int64)

    def update(self, names: Sequence[str], fields: Mapping[str, Float64], stamp_ns: int, received_ns: int) -> bool:
        """Takes one message in; False where it says nothing of the configured joints, or nothing new.

        fields: block to values, one per name. Raises ShapeError on counts that disagree.
        """
        ours, theirs = self._order(tuple(names))
        if not len(ours):
            return False
        for block in self.blocks:
            if len(fields[block]) != len(names):
                what = block.removeprefix("joint_")
                raise ShapeError(f"joint state has {len(names)} names but {len(fields[block])} {what}")
        if stamp_ns < self._stamps_ns[ours].max():
            return False
        for block in self.blocks:
            self._values[block][ours] = fields[block][theirs]
        self._stamps_ns[ours] = stamp_ns
        self._received_ns[ours] = received_ns
        return True

    def _order(self, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the configured joints among ours and among `names`."""
        order = self._orders.get(names)
        if order is None:
            pairs = [(i, names.index(n)) for i, n in enumerate(self.joint_names) if n in names]
            order = tuple(np.array(pairs, np.intp).reshape(-1, 2).T)
            if len(self._orders) >= KNOWN_ORDERS:
                self._orders.clear()
            self._orders[names] = order
        return order

    def missing(self) -> tuple[str, ...]:
        """Joints that are needed and that no message has held yet."""
        if not self.blocks:
            return ()
        return tuple(n for n, stamp in zip(self.joint_names, self._stamps_ns, strict=True) if stamp < 0)

    def oldest(self) -> str:
        """The joint that was heard longest ago."""
        return self.joint_names[int(np.argmin(self._stamps_ns))]

    def complete(self) -> SourceValue | None:
        """All joints, as old as the oldest of them; None while one was never heard."""
        stamp_ns = int(self._stamps_ns.min())
        if stamp_ns < 0:
            return None
        values = {block: value.copy() for block, value in self._values.items()}
        return SourceValue(stamp_ns, int(self._received_ns.min()), values)
