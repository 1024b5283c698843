"""The report as one HTML page that needs nothing else: no network, no script, pictures inside."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from resfit_ros.learning.blind_record import commitment
from resfit_ros.reporting.evaluation_words import headline, name_of, sentences
from resfit_ros.reporting.film import Strip

ASSET = Path(__file__).with_name("evaluation_page.html")
COLOURS = {"Better": "good", "Worse": "bad"}
MOST_ROWS = 400  # episodes listed on the page; all are in episodes.csv
HASH_SHOWN = 16


def page(result: dict[str, Any], figure_png: bytes, strips: Sequence[Strip]) -> str:
    """The page as text; every word that comes from outside is escaped."""
    words = headline(result)
    parts = {
        "title": escape(_title(result)),
        "headline": escape(words),
        "colour": COLOURS.get(words.split(":")[0], "open"),
        "sentences": "".join(f"<li>{escape(s)}</li>" for s in sentences(result)),
        "figure": _embedded(figure_png, "image/png"),
        "figure_alt": escape(words),
        "films": "".join(_film(result, strip) for strip in strips)
        or "<p>No bag of an episode could be read.</p>",
        "pairs": _pairs(result),
        "method": _method(result),
        "compared": _rows(_compared(result)),
        "command": escape(result["setup"].get("command", "")),
        "order": _order(result),
        "episodes": _episodes(result),
        "begun": escape(str(result["setup"].get("begun", ""))),
    }
    return Template(ASSET.read_text()).substitute(parts)


def _title(result: dict[str, Any]) -> str:
    return " against ".join(name_of(result, arm) for arm in reversed(list(result["arms"])))


def _embedded(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _rows(rows: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows if v)


def _film(result: dict[str, Any], strip: Strip) -> str:
    episode = strip.episode
    outcome = "success" if episode["success"] else episode["outcome"]
    scene = f", scene {episode['scene_seed']}" if episode["scene_seed"] >= 0 else ""
    kind = "good" if episode["success"] else "bad"
    caption = (
        f"<b>{escape(name_of(result, strip.arm))}</b>: <span class='{kind}'>{escape(outcome)}</span> after "
        f"{episode['seconds']:.1f} s <span class='dim'>(episode {episode['episode_id']}{scene}; "
        f"{escape(strip.source)})</span>"
    )
    alt = escape(f"{name_of(result, strip.arm)}: {outcome}")
    source = _embedded(strip.jpeg, "image/jpeg")
    return f"<figure><figcaption>{caption}</figcaption><img src='{source}' alt='{alt}'></figure>"


def _pairs(result: dict[str, Any]) -> str:
    if "pairs" not in result:
        return ""
    first, second = result["arms"]
    pairs, names = result["pairs"], (name_of(result, first), name_of(result, second))
    rows = [
        ("both succeeded", str(pairs["both"])),
        (f"only {names[1]} did", str(pairs[f"only_{second}"])),
        (f"only {names[0]} did", str(pairs[f"only_{first}"])),
        ("neither did", str(pairs["neither"])),
    ]
    what = "the same initial scene" if result["matched"] else "one block"
    return f"<h2>Pairs of episodes from {what}</h2><table>{_rows(rows)}</table>"


def _method(result: dict[str, Any]) -> str:
    if len(result["arms"]) < 2:
        return "<p>One policy, on scenes it was not trained on. Nothing was compared.</p>"
    sequential = result["sequential"]
    scenes = "both from the same seeded scene" if result["matched"] else "scenes set up by hand"
    early = (
        "It could stop early, by a test that is valid however often it is looked at "
        if result.get("stopped_early") or result["ended"] not in ("all_run", "by_hand")
        else "A test that is valid however often it is looked at gives the interval "
    )
    return (
        f"<p>Blocks of two episodes, one of each arm in random order, {scenes}, at most "
        f"{sequential['max_pairs']} blocks. The order was fixed, and its hash printed, before the first "
        "episode; no screen or diagnostics told which arm was running (the robot's own topics and bags do, "
        "to who reads them). "
        f"{early}(error probability {sequential['alpha']:g}).</p>"
    )


def _compared(result: dict[str, Any]) -> list[tuple[str, str]]:
    setup = result["setup"]
    rows = [
        ("configuration", _hashed(setup.get("config"), setup.get("config_sha256"))),
        (
            "base policy",
            _hashed(setup.get("policy"), result.get("policy_sha256") or setup.get("policy_sha256")),
        ),
    ]
    for key, arm in (("checkpoint", "finetuned"), ("against", "against")):
        value = setup.get(key)
        if value and arm in result["arms"]:
            rows.append((f"{name_of(result, arm)} (--{key})", _hashed(value["path"], value["actor_sha256"])))
    timing = ("simulation" if setup.get("simulated") else "robot") + (
        f", {setup['timing']}" if setup.get("timing") else ""
    )
    return [
        *rows,
        ("run on", timing),
        ("begun", str(setup.get("begun", ""))),
        ("resfit_ros", " ".join(filter(None, (setup.get("version"), setup.get("commit"))))),
    ]


def _hashed(name: str | None, digest: str | None) -> str:
    return f"{name} (SHA-256 {digest[:HASH_SHOWN]}…)" if name and digest else str(name or "")


def _order(result: dict[str, Any]) -> str:
    promise = result["commitment"]
    holds = commitment(promise["nonce"], promise["order"]) == promise["sha256"]
    verdict = (
        "It is the hash of the order in evaluation.json."
        if holds
        else "It is NOT the hash of the order below."
    )
    promised = f"<code>{escape(promise['sha256'])}</code>"
    return f"<p>SHA-256 of the order, fixed before the first episode:<br>{promised}<br>{verdict}</p>"


def _episodes(result: dict[str, Any]) -> str:
    heads = ("episode", "arm", "scene", "outcome", "steps", "seconds", "labelled by")
    rows = []
    for e in result["episodes"][:MOST_ROWS]:
        kind = "dim" if not e["counts"] else "good" if e["success"] else "bad"
        scene = str(e["scene_seed"]) if e["scene_seed"] >= 0 else f"block {e['block']}"
        cells = (str(e["episode_id"]), name_of(result, e["arm"]), scene, e["outcome"], str(e["steps"]),
                 f"{e['seconds']:.1f}", e["labelled_by"])  # fmt: skip
        rows.append(f"<tr class='{kind}'>" + "".join(f"<td>{escape(c)}</td>" for c in cells) + "</tr>")
    left = len(result["episodes"]) - len(rows)
    more = f"<p>{left} more are in episodes.csv.</p>" if left > 0 else ""
    return (
        "<table class='wide'><tr>"
        + "".join(f"<th>{h}</th>" for h in heads)
        + "</tr>"
        + "".join(rows)
        + f"</table>{more}"
    )
