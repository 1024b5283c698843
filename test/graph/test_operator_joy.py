"""A gamepad in front of a running graph."""

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import Joy
from std_srvs.srv import SetBool

from resfit_ros import graphs
from resfit_ros.bringup import describe, with_timing
from resfit_ros.core.errors import ConfigError
from resfit_ros.msg import Episode, ExecutedAction, Hold, SafetyStatus
from resfit_ros.ros.qos import STEPS

SUCCESS, FAILURE, ESTOP, HOLD, RESUME, ENABLE = 0, 1, 3, 9, 10, 11  # config/joy/gamepad.yaml
BUTTONS = 15


class Pad:
    """A gamepad whose buttons the test presses; it repeats itself at 20 Hz, as joy_node does."""

    def __init__(self, probe, *held: int) -> None:
        self._publisher = probe.node.create_publisher(Joy, "/joy", STEPS)
        probe.wait(lambda: self._publisher.get_subscription_count() > 0)
        self.timer = probe.node.create_timer(0.05, lambda: self.send(*held))

    def send(self, *down: int, buttons: int = BUTTONS) -> None:
        """One message with these buttons down."""
        self._publisher.publish(Joy(buttons=[int(b in down) for b in range(buttons)], axes=[0.0] * 6))


def configured(config, timing: str, **operator):
    config = with_timing(config, timing)
    sections = {
        **config.sections,
        "operator": operator,
        "episode_manager": {"max_steps": 5000},
        # A shared machine may stop a process for longer than a robot's bus would.
        "safety_filter": {"auto_arm": True, "action_timeout_s": 0.5, "state_timeout_s": 2.0},
        "sim_robot": {"label_success": False},
    }
    return type(config)(config.path, sections)


@pytest.fixture
def bring_up(start, config, policy_dir):
    """The control graph with a pad, in the middle of an episode."""

    def run(timing: str = "realtime", held: tuple[int, ...] = (), **operator):
        specs = graphs.deploy_graph(configured(config, timing, **operator), policy_dir, None)
        assert ("joy", "/joy") in next(s for s in specs if s.name == "operator").remappings
        probe = start(specs)
        probe.watch(Hold, "hold_request", STEPS)
        pad = Pad(probe, *held)
        probe.wait(lambda: len(probe.seen["executed_action"]) > 10)
        return probe, pad

    return run


def ends(probe) -> list[Episode]:
    return [e for e in probe.seen["episode"] if e.event == Episode.EVENT_ENDED]


def status(probe):
    return probe.seen["safety_status"][-1]


@pytest.mark.parametrize(
    ("timing", "button", "outcome"),
    [
        ("realtime", SUCCESS, Episode.OUTCOME_SUCCESS),
        ("lockstep", SUCCESS, Episode.OUTCOME_SUCCESS),
        ("realtime", FAILURE, Episode.OUTCOME_FAILURE),
    ],
)
def test_when_one_of_200_messages_shows_a_press_expect_the_episode_to_end_labelled_by_the_operator(
    bring_up, timing, button, outcome
):
    probe, pad = bring_up(timing)
    for i in range(200):
        pad.send(*([button] if i == 100 else []))
    probe.wait(lambda: ends(probe), 20.0)
    probe.spin(0.5)
    assert [(e.outcome, e.labelled_by) for e in ends(probe)] == [(outcome, "operator")]


def test_when_the_estop_is_pressed_for_one_message_expect_a_latched_fault(bring_up):
    probe, pad = bring_up()
    pad.send(ESTOP)
    pad.send()
    probe.wait(lambda: status(probe).state == ExecutedAction.STATE_FAULT, 15.0)
    assert status(probe).reasons & ExecutedAction.REASON_ESTOP
    probe.spin(1.0)
    assert status(probe).state == ExecutedAction.STATE_FAULT


def asked(probe) -> list[Hold]:
    """What the operator asked of the safety filter."""
    return [h for h in probe.seen["hold_request"] if h.source_id == "/resfit/operator"]


def holds(probe) -> bool:
    """Whether the robot holds because the operator wants it to."""
    held = status(probe).reasons & ExecutedAction.REASON_OPERATOR
    return bool(held) and status(probe).state == ExecutedAction.STATE_HOLD


def moves_on(probe) -> None:
    """Steps are executed again."""
    done = len(probe.seen["executed_action"])
    probe.wait(lambda: len(probe.seen["executed_action"]) > done + 10, 10.0)
    assert status(probe).state == ExecutedAction.STATE_ARMED


def test_when_hold_and_resume_are_pressed_expect_the_robot_to_hold_and_go_on(bring_up):
    probe, pad = bring_up()
    assert asked(probe) == []
    pad.send(HOLD)
    probe.wait(lambda: holds(probe), 15.0)
    assert (asked(probe)[0].request, asked(probe)[0].why) == (Hold.REQUEST_HOLD, "the operator asked to hold")
    pad.send(RESUME)
    moves_on(probe)


def test_when_the_pad_falls_silent_with_the_dead_man_held_expect_the_robot_to_hold(bring_up, tmp_path):
    mapping = tmp_path / "pad.yaml"
    mapping.write_text("actions:\n  dead_man: {button: 4}\n  estop: {button: 3}\n")
    probe, pad = bring_up(held=(4,), mapping=str(mapping))
    pad.timer.cancel()
    probe.wait(lambda: holds(probe), 15.0)
    assert "silent" in asked(probe)[-1].why
    pad.timer.reset()
    moves_on(probe)


# -- the node alone -------------------------------------------------------------------------------


@pytest.fixture
def alone(start, config):
    """The operator node without a graph around it."""
    probe = start(describe(config, ["operator"], {"operator": {"mapping": graphs.joy_mapping(config)}}), whole=False)
    probe.watch(DiagnosticArray, "/diagnostics", 50)
    return probe, Pad(probe)


def said(probe, words: str) -> bool:
    return any(words in s.message for m in probe.seen["/diagnostics"] for s in m.status)


def test_when_a_service_is_absent_expect_it_and_its_node_named(alone):
    probe, pad = alone
    probe.spin(0.2)
    pad.send(ENABLE)
    probe.wait(lambda: said(probe, "service /resfit/enable_residual is absent; is node residual running?"), 15.0)


def test_when_the_pad_has_fewer_buttons_than_mapped_expect_the_numbers(alone):
    probe, pad = alone
    pad.timer.cancel()
    pad.send(buttons=8)
    probe.wait(lambda: said(probe, "8 buttons and 6 axes, but the mapping names button 9 (hold)"), 15.0)


def test_when_no_safety_filter_answers_expect_the_estop_asked_until_its_status_shows_it(alone):
    probe, pad = alone
    probe.spin(0.2)
    pad.send(ESTOP)
    probe.wait(lambda: said(probe, "e-stop: service /resfit/estop is absent"), 15.0)
    requests: list[bool] = []

    def on_estop(request, response):
        requests.append(request.data)
        response.success = True
        return response

    probe.node.create_service(SetBool, "estop", on_estop)
    probe.wait(lambda: len(requests) >= 3, 10.0)  # answered, but no status shows it
    status = probe.node.create_publisher(SafetyStatus, "safety_status", 10)
    fault = SafetyStatus(state=ExecutedAction.STATE_FAULT, reasons=ExecutedAction.REASON_ESTOP)
    shown = probe.node.create_timer(0.1, lambda: status.publish(fault))
    probe.wait(lambda: probe.seen["/diagnostics"] and said(probe, "e-stop pressed"), 15.0)
    probe.spin(0.5)
    before = len(requests)
    probe.spin(0.5)
    assert (len(requests), all(requests)) == (before, True)
    shown.cancel()


def test_when_a_mapping_is_not_there_expect_the_shipped_ones_named(config):
    sections = {**config.sections, "operator": {"mapping": "game_pad"}}
    with pytest.raises(ConfigError, match="mapping 'game_pad': no such file; give a path or one of: gamepad, xbox"):
        graphs.joy_mapping(type(config)(config.path, sections))
