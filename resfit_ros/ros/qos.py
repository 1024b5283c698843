"""Quality-of-service profiles, each with its reason."""

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

# Observations, chunks, actions, executed actions, labels: each message is one step of an episode and
# must arrive; the depth covers a subscriber that is busy for a few seconds (a learner saving).
STEPS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=256, reliability=ReliabilityPolicy.RELIABLE
)

# Episode boundaries: as STEPS; a late joiner must not be given an old boundary as if it were new.
EPISODES = STEPS

# Robot commands and feedback: only the newest counts, but a lockstep simulation waits for each one.
ROBOT = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=10, reliability=ReliabilityPolicy.RELIABLE)

# Sensors of real robots are often best effort; a best-effort subscription takes either kind.
SENSORS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=10, reliability=ReliabilityPolicy.BEST_EFFORT
)

# Actor weights and status: a node that joins late (or restarts) needs the newest at once.
LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
