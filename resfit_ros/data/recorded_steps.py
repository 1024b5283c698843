"""The messages of one recorded episode by step, whatever came twice."""

from dataclasses import dataclass, field

from resfit_ros.core.types import Action, EpisodeEnded, Executed, Observation
from resfit_ros.data.read_bags import StepMessage


@dataclass
class RecordedSteps:
    """The messages of one episode by step; a step may be observed again."""

    observations: dict[int, list[Observation]] = field(default_factory=dict)
    actions: dict[int, Action] = field(default_factory=dict)
    executed: dict[int, Executed] = field(default_factory=dict)
    end: EpisodeEnded | None = None

    def add(self, message: StepMessage) -> None:
        """Of what comes twice, the first is kept."""
        if isinstance(message, EpisodeEnded):
            self.end = self.end or message
        elif isinstance(message, Observation):
            self.observations.setdefault(message.step, []).append(message)
        else:
            of_kind = self.actions if isinstance(message, Action) else self.executed
            of_kind.setdefault(message.step, message)

    def observed(self) -> dict[int, Observation]:
        """By step; of several the one that the action answers, whose stamp it bears."""
        stamps_ns = {k: action.stamp_ns for k, action in self.actions.items()}
        return {
            k: next((o for o in of_step if o.stamp_ns == stamps_ns.get(k)), of_step[0])
            for k, of_step in self.observations.items()
        }
