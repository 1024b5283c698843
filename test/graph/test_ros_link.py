"""The operator's link in front of a running graph, and in front of none."""

import json
import time

import pytest
from std_srvs.srv import SetBool

from resfit_ros import graphs
from resfit_ros.bringup import with_timing
from resfit_ros.core.types import EpisodeStarted
from resfit_ros.msg import ActorWeights, Episode, ExecutedAction, SafetyStatus
from resfit_ros.operating.controls import Control
from resfit_ros.operating.ros_link import RosLink
from resfit_ros.operating.ros_spin import SpunLink
from resfit_ros.ros.own_node import OwnNode
from resfit_ros.ros.qos import LATCHED
from resfit_ros.srv import Label


class Front:
    """A front end's node with a link on it."""

    def __init__(self, domain: int) -> None:
        self.own = OwnNode("front", arguments=[], domain_id=domain)
        self.node = self.own.node
        self.link = RosLink(self.node, labelled_by="front")

    def shown(self, *path) -> object:
        """A value of the snapshot."""
        value = self.link.snapshot()
        for key in path:
            value = value[key]
        return value

    def wait(self, condition, seconds: float = 30.0) -> None:
        """Spins until the condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                shown = {k: self.shown(k) for k in ("episode", "safety", "messages")}
                pytest.fail(f"condition not met within {seconds} s: {json.dumps(shown)}")
            self.own.executor.spin_once(timeout_sec=0.05)

    def told(self) -> str:
        """Every message, newest first."""
        return "\n".join(m["text"] for m in self.shown("messages"))

    def close(self) -> None:
        """Leaves the domain."""
        self.link.close()
        self.own.close()


@pytest.fixture
def front(domain):
    made = Front(domain)
    yield made
    made.close()


@pytest.fixture
def graph(start, front, config, policy_dir):
    """The control graph in realtime in the middle of an episode, watched by a front end."""
    realtime = with_timing(config, "realtime")
    sections = {
        **realtime.sections,
        "episode_manager": {"max_steps": 5000},
        # A shared machine may stop a process for longer than a robot's bus would.
        "safety_filter": {
            "auto_arm": True,
            "action_timeout_s": 0.5,
            "state_timeout_s": 2.0,
            "max_residual": [0.05],
        },
        "sim_robot": {"label_success": False},
    }
    probe = start(graphs.deploy_graph(type(config)(config.path, sections), policy_dir, None))
    front.wait(lambda: front.shown("episode", "step") > 5, 60.0)
    front.wait(lambda: all(front.shown("controls", n, "enabled") for n in ("success", "hold", "estop")))
    return probe


def state(probe) -> int | None:
    probe.spin(0.05)
    return probe.state()


def test_when_an_episode_runs_expect_all_of_it_in_the_snapshot(graph, front):
    front.wait(lambda: front.shown("residual", "joints") and front.shown("residual", "enabled") is not None)
    front.wait(lambda: front.shown("residual", "bound_from") == "safety filter")
    front.wait(lambda: front.shown("episode", "max_steps") == 5000 and len(front.shown("nodes")) >= 5)
    front.wait(lambda: front.shown("safety", "state") == "armed")
    shown = json.loads(json.dumps(front.link.snapshot(), allow_nan=False))
    assert len(shown["residual"]["joints"]) == 29
    assert shown["residual"]["joints"][0]["name"] == "torso_yaw"
    assert shown["residual"]["mode"] == "base policy alone"
    assert shown["residual"]["enabled"] is False  # no checkpoint was given
    assert shown["episode"]["time_s"] > 0.2
    assert shown["namespace"] == "/resfit"


def test_when_success_is_pressed_expect_the_episode_ended_and_counted(graph, front):
    episode = front.shown("episode", "id")
    assert front.link.shortcut("S")
    front.wait(lambda: front.shown("success", "episodes") == 1)
    end = graph.ended(1)[0]
    assert (end.episode_id, end.outcome, end.labelled_by) == (episode, Episode.OUTCOME_SUCCESS, "front")
    assert front.shown("success", "outcomes") == ["success"]
    front.wait(lambda: "Success: labelled" in front.told())
    front.wait(lambda: front.shown("episode", "id") > episode)


def test_when_the_estop_is_pressed_expect_a_latched_stop_and_arm_to_say_why_not(graph, front):
    assert front.link.shortcut("Space")
    front.wait(lambda: front.shown("safety", "title") == "E-STOP")
    graph.wait(lambda: state(graph) == ExecutedAction.STATE_FAULT, 10.0)
    assert not front.link.press(Control.ARM)
    assert front.shown("controls", "arm", "answer", "text") == "the e-stop is pressed; release it first"
    assert front.link.press(Control.RELEASE_ESTOP)
    front.wait(lambda: "Release e-stop: released; call arm to go on" in front.told())
    front.wait(lambda: front.shown("controls", "arm", "enabled"))
    assert front.link.press("arm")
    front.wait(lambda: "Arm: armed" in front.told() and front.shown("safety", "state") in ("armed", "hold"))


def test_when_somebody_elses_estop_holds_expect_arm_refused_until_anybody_releases_it(graph, front):
    graph.call(SetBool, "estop", SetBool.Request(data=True))
    front.wait(lambda: front.shown("safety", "title") == "E-STOP")
    assert not front.link.press(Control.ARM)
    assert front.shown("controls", "arm", "why") == "the e-stop is pressed; release it first"
    graph.call(SetBool, "estop", SetBool.Request(data=False))
    front.wait(lambda: front.shown("safety", "title") == "E-STOP RELEASED")
    assert front.link.press(Control.ARM)
    front.wait(lambda: front.shown("safety", "state") == "armed")


def test_when_the_hold_key_is_pressed_twice_expect_a_hold_that_only_resume_ends(graph, front):
    assert front.link.shortcut("H")
    front.wait(lambda: "the operator asked to hold" in front.shown("safety", "reasons"))
    assert not front.link.shortcut("H")
    assert front.shown("controls", "hold", "answer", "text") == "holding already"
    assert front.link.press(Control.RESUME)
    front.wait(lambda: "the operator asked to hold" not in front.shown("safety", "reasons"))


def test_when_the_residual_key_is_pressed_twice_expect_it_enabled_and_disabled_again(graph, front):
    front.wait(lambda: front.shown("residual", "enabled") is False)
    assert front.link.shortcut("E")
    front.wait(lambda: front.shown("residual", "enabled") is True)
    front.wait(lambda: "Enable residual: residual enabled" in front.told())
    front.wait(lambda: not front.shown("controls", "enable_residual", "enabled"))
    assert front.link.shortcut("E")
    front.wait(lambda: "Disable residual: residual disabled" in front.told())


def test_when_a_link_spins_itself_expect_the_same_snapshot_with_no_other_executor(graph, domain):
    spun = SpunLink("a front end", arguments=[], domain_id=domain)
    try:
        graph.wait(lambda: spun.link.snapshot()["episode"]["state"] == "running")
    finally:
        spun.close()


def test_when_a_callback_raises_expect_the_link_to_say_so_and_to_ask_for_the_estop_still(front, domain):
    asked = []

    def on_estop(request, response):
        asked.append(request.data)
        response.success, response.message = True, "stopped"
        return response

    def fail():
        raise IndexError("no such joint")

    front.node.create_service(SetBool, "/resfit/estop", on_estop)
    spun = SpunLink("a front end", arguments=[], domain_id=domain)
    try:
        spun._own.node.create_timer(0.05, fail)
        front.wait(lambda: any("no such joint" in m["text"] for m in spun.link.snapshot()["messages"]))
        spun.link.press(Control.ESTOP)
        front.wait(lambda: len(asked) >= 3)
    finally:
        spun.close()


def test_when_messages_make_no_sense_expect_them_passed_over_and_the_view_still_there(front):
    status = front.node.create_publisher(SafetyStatus, "/resfit/safety_status", 10)
    weights = front.node.create_publisher(ActorWeights, "/resfit/actor_weights", LATCHED)
    weights.publish(ActorWeights(normaliser="[]", residual_scale=0.25))

    def told():
        status.publish(SafetyStatus(state=99))
        return "safety_status passed over" in front.told()

    front.wait(told)
    front.wait(lambda: front.link._view.residual.scale == 0.25)
    assert front.shown("safety", "state") == "not heard"


def test_when_a_label_is_asked_for_expect_the_episode_that_the_operator_saw(front):
    request = Label.Request()
    if not hasattr(request, "episode_id"):
        pytest.skip("the messages are those of an earlier build; build them again")
    front.link._view.on_episode(EpisodeStarted(1, 5), front.link.now_ns())
    assert front.link._request(Control.SUCCESS).episode_id == 5


def test_when_no_graph_runs_expect_every_press_answered_at_once(front):
    front.wait(lambda: front.shown("controls", "arm", "why") != "", 15.0)
    assert not front.link.press(Control.ARM)
    assert "node safety_filter is not there" in front.told()
    assert front.link.press(Control.ESTOP)
    assert "NOT DELIVERED" in front.shown("controls", "estop", "answer", "text")
    assert front.shown("safety", "title") == "E-STOP ASKED FOR"


def test_when_the_filter_starts_after_the_press_expect_the_estop_delivered(front, domain):
    front.link.press(Control.ESTOP)
    asked = []

    def on_estop(request, response):
        asked.append(request.data)
        response.success, response.message = True, "stopped"
        return response

    front.node.create_service(SetBool, "/resfit/estop", on_estop)
    front.wait(lambda: asked == [True] * len(asked) and len(asked) >= 2)  # until its status shows it


def test_when_a_service_does_not_answer_expect_that_told(front):
    with OwnNode("mute", arguments=[], domain_id=front.node.context.get_domain_id()) as mute:  # not spun
        mute.node.create_service(SetBool, "/resfit/hold", lambda request, response: response)
        front.wait(lambda: front.shown("controls", "hold", "enabled"))
        assert front.link.press(Control.HOLD)
        front.wait(lambda: "Hold: no answer in 2 s" in front.told())
