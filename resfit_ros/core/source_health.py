"""Whether what a robot senses is fresh: silent, frozen and badly stamped sources, on injected time.

A source is in trouble once nothing new came from it for longer than its age limit, and out of it after
`recover_values` new values in a row. What is refused (a stamp of zero, one in the future, a malformed
message, the same picture again) is not new: it is counted, and the last good value ages on.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from resfit_ros.core.hold_announcer import Trouble
from resfit_ros.core.types import Reason
from resfit_ros.core.watchdogs import ClockWatch

MS = 1_000_000


@dataclass(frozen=True)
class HealthSettings:
    """What counts as trouble."""

    future_ns: int = 20 * MS  # a stamp further ahead of the ROS clock is refused
    recover_values: int = 5  # new values in a row that end trouble


class SourceHealth:
    """One source. `name`: in words, e.g. "camera 'wrist'"."""

    def __init__(self, name: str, max_age_ns: int, settings: HealthSettings) -> None:
        self.name = name
        self.max_age_ns = max_age_ns
        self.refused = 0  # values since start
        self._settings = settings
        self.forget()

    def forget(self) -> None:
        """Starts over: the next new value is good enough."""
        self._stamp_ns: int | None = None
        self._fresh_ns: int | None = None  # steady clock: newest value that was new
        self._before_ns: int | None = None  # the one before
        self._needed = 1
        self._complaint = ""  # about what came since the last new value
        self._why = "was not heard yet"

    def stamp_problem(self, stamp_ns: int, ros_ns: int) -> str | None:
        """What is wrong with a stamp, or None. ros_ns: the ROS clock; 0: it has not begun."""
        if stamp_ns == 0:
            return "is stamped zero; its driver must set header.stamp"
        if not ros_ns:
            return None
        if stamp_ns - ros_ns > self._settings.future_ns:
            return "is stamped in the future; synchronise the clocks of the computers"
        if ros_ns - stamp_ns > self.max_age_ns:
            return f"arrives more than {self.max_age_ns * 1e-9:g} s after its stamp; see the network and the clocks"
        return None

    def on_value(self, stamp_ns: int | None, received_ns: int, ros_ns: int, same: bool = False) -> bool:
        """Takes note of a value; True where it is new and may be used.

        stamp_ns: of its header, None where it has none. received_ns: steady clock. same: its content
        is that of the value before, to the last bit.
        """
        problem = None if stamp_ns is None else self.stamp_problem(stamp_ns, ros_ns)
        if problem:
            self.refuse(problem)
            return False
        if same or stamp_ns is not None and stamp_ns == self._stamp_ns:
            self._pass_over("repeats one " + ("picture" if same else "stamp"))
            return False
        if stamp_ns is not None and self._stamp_ns is not None and stamp_ns < self._stamp_ns:
            self._pass_over("goes back in time")
            return False
        self._stamp_ns = stamp_ns
        if self._fresh_ns is not None and received_ns - self._fresh_ns > self.max_age_ns:
            self._fail()
        self._before_ns, self._fresh_ns = self._fresh_ns, received_ns
        self._needed = max(0, self._needed - 1)
        self._complaint = ""
        return True

    def refuse(self, why: str) -> None:
        """Takes note of a value that cannot be used. why: continues "camera 'wrist' ..."."""
        self.refused += 1
        self._pass_over(why)

    def retract(self, why: str) -> None:
        """The newest value turned out unusable after all, e.g. when it was decoded."""
        self._fresh_ns = self._before_ns
        self.refuse(why)

    def note(self, complaint: str) -> None:
        """Remembers what is odd; it is said when the source falls silent."""
        self._complaint = complaint

    def _pass_over(self, complaint: str) -> None:
        self._complaint = complaint
        if self._needed and self._fresh_ns is not None:
            self._needed = self._settings.recover_values

    def _fail(self) -> None:
        self._needed = self._settings.recover_values
        self._why = self._complaint or f"is silent for more than {self.max_age_ns * 1e-9:g} s"

    def trouble(self, now_ns: int) -> str | None:
        """Why the source is not to be trusted now, with its name; None when all is well."""
        if self._fresh_ns is None:
            return f"{self.name} {self._complaint or self._why}"
        if now_ns - self._fresh_ns > self.max_age_ns:
            self._fail()
        return f"{self.name} {self._why}" if self._needed else None


class SensorHealth:
    """All sources of an observation, and the clock their stamps are of."""

    def __init__(self, names: Mapping[str, str], max_age_ns: Mapping[str, int], settings: HealthSettings) -> None:
        """names: source to what people call it. max_age_ns: source to its age limit."""
        self.sources = {s: SourceHealth(name, max_age_ns[s], settings) for s, name in names.items()}
        self._clock = ClockWatch()
        self._after_jump = False

    @property
    def refused(self) -> int:
        """Values refused since start, of all sources."""
        return sum(s.refused for s in self.sources.values())

    @property
    def jumps(self) -> int:
        """How often the ROS clock was set while this ran."""
        return self._clock.jumps

    def clock_jumped(self, ros_ns: int, steady_ns: int) -> bool:
        """Call at every tick; True when the ROS clock was set: whatever is stored is void."""
        jumped = self._clock.jumped(ros_ns, steady_ns)
        if jumped:
            self._after_jump = True
            for source in self.sources.values():
                source.forget()
        return jumped

    def trouble(self, now_ns: int) -> Trouble | None:
        """Why the robot must not move by what it senses, or None."""
        complaints = [w for s in self.sources.values() if (w := s.trouble(now_ns))]
        if not complaints:
            self._after_jump = False
            return None
        if self._after_jump:
            return Trouble(Reason.CLOCK_JUMP, "the ROS clock jumped: " + "; ".join(complaints))
        return Trouble(Reason.STALE_SENSOR, "; ".join(complaints))
