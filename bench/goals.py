"""What kiln is to reach, as data, and whether it does."""

from dataclasses import dataclass

MB = 1e6
# Debian, unpacked.
BASE_BYTES = 190 * MB
# What RUN writes in scenario h.
WRITTEN_BYTES = 3_000 * MB
MIB = 2**20

# CPU and wall seconds that the work itself takes at the speeds of the machine
# of the published figures: hashing, compressing, writing, and nothing else.
IDEALS = {
    "a": "0.01 / 0.02", "b": "0.03 / 0.05", "c": "2.2 / 1.3", "d": "0.9 / 0.7", "e": "14 / 7",
    "f-known": "0.3 / 0.5", "f": "12–17 / 8", "g-known": "0.02 / 0.05", "h": "14 / 10",
    "i": "0.01 / 0.05", "j": "0.01 / 0.03",
}


@dataclass
class Ratio:
    """At most so much of what another builder needs: the builder of a kind, or
    whoever is best. Held against this run and against the earlier figures."""

    scenario: str
    field: str
    most: float
    kind: str = "best"
    reference: str | None = None


@dataclass
class AtMost:
    """At most so much, whoever else needs what."""

    scenario: str
    field: str
    most: float
    what: str = ""


def goals(size_of_big):
    """All of them. `size_of_big` is what the big base is unpacked, in bytes."""
    found = [
        Ratio("a", "wall", 0.3, "buildkit"),
        AtMost("a", "requests", 2, "requests for one destination"),
        Ratio("b", "cpu", 0.3, "buildkit"),
        Ratio("b", "wall", 0.3, "buildkit"),
        Ratio("c", "cpu", 0.25, "kaniko"),
        Ratio("c", "wall", 0.25, "kaniko"),
        Ratio("d", "cpu", 0.45),
        Ratio("d", "wall", 0.45),
        Ratio("e", "wall", 0.85),
        AtMost("e", "idle", 0.1, "share of the processors' time that is idle"),
        Ratio("f-known", "wall", 0.03, reference="f"),
        AtMost("f-known", "disk", 300 * MB, "disk"),
        AtMost("f-known", "down", 100 * MB, "down"),
        Ratio("f", "cpu", 0.35),
        Ratio("f", "wall", 0.35),
        AtMost("f", "disk", 1.05 * size_of_big, "disk: 1.05 × the base unpacked"),
        AtMost("f", "up", 1 * MB, "up: nothing of the base"),
        Ratio("f-shared", "wall", 0.03, reference="f"),
        AtMost("f-shared", "down", 100 * MB, "down"),
        AtMost("g-known", "wall", 0.5, "wall"),
        AtMost("g-known", "down", 0.1 * MB, "down: no layer bytes"),
        AtMost("g", "disk", 10 * MB, "disk: only the index"),
        Ratio("h", "cpu", 0.5),
        Ratio("h", "wall", 0.5),
        AtMost("h", "disk_beyond", 1.1 * BASE_BYTES, "disk beyond files and blob: the base"),
        Ratio("i", "cpu", 0.25),
        Ratio("i", "wall", 0.25),
        AtMost("i", "more_requests", 0, "requests more for fifty steps than for ten"),
        Ratio("j", "cpu", 0.1),
        Ratio("j", "wall", 0.1),
    ]
    found += [AtMost(key, "rss", 64 * MIB, "memory") for key in ("a", "b", "g-known", "i", "j")]
    # Beside the other goals of the same scenario.
    order = list(dict.fromkeys(goal.scenario for goal in found))
    found.sort(key=lambda goal: order.index(goal.scenario))
    return [*found, AtMost("any", "rss", 256 * MIB, "memory of the scenario that needs most")]


@dataclass
class Verdict:
    """How a goal stands: None where it was not measured."""

    goal: object
    value: float | None
    # (who, what it needs, kiln ÷ that) of this run and of the earlier figures.
    now: tuple | None = None
    before: tuple | None = None
    met: bool | None = None


def judge(goal, results, earlier):
    value = measured(goal, results)
    if isinstance(goal, AtMost):
        return Verdict(goal, value, met=None if value is None else value <= goal.most)
    key = goal.reference or goal.scenario
    now = best({name: results.median(key, name, goal.field)
                for name, about in results.data["builders"].items()
                if name != "kiln" and goal.kind in ("best", about["kind"])}, value)
    before = best({name: costs.get(goal.field) for name, costs in earlier.get(key, {}).items()
                   if goal.kind in ("best", name)}, value)
    ratios = [reference[2] for reference in (now, before) if reference]
    return Verdict(goal, value, now, before, all(ratio <= goal.most for ratio in ratios) if ratios else None)


def measured(goal, results):
    if goal.scenario == "any":
        # Twenty processes together are not one.
        values = [results.median(key, "kiln", "rss") for key in results.data["scenarios"] if key != "crowd"]
        return max((value for value in values if value is not None), default=None)
    if goal.field == "idle":
        cpu, wall = (results.median("e", "kiln", field) for field in ("cpu", "wall"))
        return None if cpu is None else max(0, 1 - cpu / wall / results.data["processors"])
    if goal.field == "disk_beyond":
        disk, up = (results.median("h", "kiln", field) for field in ("disk", "up"))
        return None if disk is None else disk - up - WRITTEN_BYTES * results.data["scale"]
    if goal.field == "more_requests":
        ten, fifty = (results.median(key, "kiln", "requests") for key in ("i", "i-fifty"))
        return None if ten is None or fifty is None else fifty - ten
    return results.median(goal.scenario, "kiln", goal.field)


def best(candidates, value):
    known = {name: cost for name, cost in candidates.items() if cost}
    if value is None or not known:
        return None
    name = min(known, key=known.get)
    return name, known[name], value / known[name]
