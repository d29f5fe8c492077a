"""Markdown tables from results.json."""

from goals import IDEALS, AtMost, goals, judge
from growth import AXES, exponent
from results import spread
from scenarios import SCENARIOS

NAMES = {"buildkit": "BuildKit", "buildah": "Buildah", "kaniko": "kaniko", "docker": "docker (BuildKit)"}


def table(head, rows, left=1):
    """`left` columns are words, the others numbers."""
    lines = [head, ["---"] * left + ["--:"] * (len(head) - left), *rows]
    return "\n".join("| " + " | ".join(cell or " " for cell in line) + " |" for line in lines)


def seconds(value):
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def megabytes(value):
    if value is None:
        return ""
    value = max(value, 0) / 1e6
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def mebibytes(value):
    return f"{value / 2**20:,.0f}"


def ratio(ours, theirs):
    if ours is None or not theirs or theirs < 0:
        return ""
    value = max(ours, 0) / theirs
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def label(results, name):
    about = results.data["builders"].get(name)
    return about["label"] if about else NAMES.get(name, name)


def main_table(results, keys=None):
    """Every scenario with every builder of the session."""
    head = ["", "", "n", "CPU s (min – max)", "wall s (min – max)", "RSS MiB", "disk MB peak / after",
            "down MB", "up MB", "requests", "kiln's CPU ÷ its", "kiln's wall ÷ its"]
    rows = []
    for scenario in SCENARIOS:
        found = results.data["scenarios"].get(scenario.key)
        if not found or (keys and scenario.key not in keys):
            continue
        title = f"**{scenario.key}** {scenario.title}"
        for name in sorted(found, key=lambda name: (name != "kiln", name)):
            rows.append(line(results, scenario, name, title))
            title = ""
    return table(head, rows, left=2)


def line(results, scenario, name, title):
    runs = results.runs(scenario.key, name)
    if not runs:
        reason = results.data["scenarios"][scenario.key][name]["refused"]
        return [title, f"{label(results, name)}: {reason}", *[""] * 10]
    middle = {field: spread(runs, field)[1] for field in runs[0]}
    cells = [title, label(results, name), str(len(runs))]
    for field in ("cpu", "wall"):
        low, median, high = spread(runs, field)
        cells.append(seconds(median) + (f" ({seconds(low)} – {seconds(high)})" if len(runs) > 1 else ""))
    cells += [mebibytes(middle["rss"]), f"{megabytes(middle['disk'])} / {megabytes(middle['kept'])}",
              megabytes(middle["down"]), megabytes(middle["up"]), f"{middle['requests']:.0f}"]
    if name == "kiln":
        return [*cells, "", ""]
    return [*cells, *(ratio(results.median(scenario.key, "kiln", field), middle[field])
                      for field in ("cpu", "wall"))]


def reach_table(results, earlier, causes, size_of_big):
    """Every goal, how far kiln is, and why where it is not there."""
    head = ["", "ideal CPU / wall s", "goal", "kiln", "best of this run", "best of an earlier day", "", "why not"]
    rows, last = [], None
    for goal in goals(size_of_big):
        verdict = judge(goal, results, earlier)
        key = goal.scenario
        first = key != last
        cause = ""
        if verdict.met is False:
            cause = causes.get(f"{key}.{goal.field}") or causes.get(key) or "no cause is known yet"
        word = {True: "met", False: "**not met**", None: "not measured"}[verdict.met]
        rows.append([f"**{key}**" if first else "", IDEALS.get(key, "") if first else "",
                     goal_words(goal), shown(goal.field, verdict.value),
                     reference(goal, verdict.now, results), reference(goal, verdict.before, results),
                     word, cause])
        last = key
    return table(head, rows, left=8)


def goal_words(goal):
    if isinstance(goal, AtMost):
        return f"{goal.what} ≤ {shown(goal.field, goal.most)}"
    words = {"cpu": "CPU", "wall": "wall"}[goal.field]
    return f"{words} ≤ {goal.most} × {NAMES.get(goal.kind, 'the best')}"


def shown(field, value):
    if value is None:
        return ""
    if field in ("cpu", "wall"):
        return seconds(value) + " s"
    if field == "rss":
        return mebibytes(value) + " MiB"
    if field == "idle":
        return f"{value:.0%}"
    return f"{value:.0f}" if "requests" in field else megabytes(value) + " MB"


def reference(goal, found, results):
    if not found:
        return ""
    name, value, share = found
    return f"{share:.2g} × {shown(goal.field, value)} ({label(results, name)})"


def earlier_table(results, earlier):
    """Other builders on another day: what kiln of today is of them."""
    head = ["", "", "CPU s", "wall s", "RSS MiB", "disk peak MB", "down MB", "requests", "kiln's CPU ÷ its", "kiln's wall ÷ its"]
    rows = []
    for scenario in SCENARIOS:
        title = f"**{scenario.key}**"
        for name, cost in earlier.get(scenario.key, {}).items():
            ours = [ratio(results.median(scenario.key, "kiln", field), cost[field]) for field in ("cpu", "wall")]
            rows.append([title, NAMES[name], seconds(cost["cpu"]), seconds(cost["wall"]), mebibytes(cost["rss"]),
                         megabytes(cost["disk"]), megabytes(cost["down"]), str(cost["requests"]), *ours])
            title = ""
    return table(head, rows, left=2)


def start_table(results):
    head = ["", "CPU ms", "wall ms", "RSS MiB"]
    rows = []
    for name, found in results.data["start"].items():
        for key, what in (("version", "prints its version"), ("nothing", "builds `FROM scratch` again")):
            if cost := found.get(key):
                rows.append([f"{label(results, name)} {what}", f"{cost['cpu'] * 1e3:.1f}",
                             f"{cost['wall'] * 1e3:.1f}", mebibytes(cost["rss"])])
    return table(head, rows)


def growth_points(results, key, field):
    """(amount, median) of an axis."""
    found = results.data["growth"].get(key, {})
    return sorted((int(amount), spread(runs, field)[1]) for amount, runs in found.items())


def growth_table(results, keys=None):
    head = ["what grows", "from – to", "CPU s", "exponent", "wall s", "exponent", "RSS MiB", "requests"]
    rows = []
    for axis in AXES:
        points = growth_points(results, axis.key, "cpu")
        if not points or (keys and axis.key not in keys):
            continue
        cells = [axis.title, f"{points[0][0]:,} – {points[-1][0]:,}"]
        for field in ("cpu", "wall"):
            values = growth_points(results, axis.key, field)
            slope = exponent(values)
            cells += [" · ".join(seconds(value) for _, value in values),
                      "" if slope is None else f"{slope:.2f}"]
        cells.append(" · ".join(mebibytes(value) for _, value in growth_points(results, axis.key, "rss")))
        cells.append(" · ".join(f"{value:.0f}" for _, value in growth_points(results, axis.key, "requests")))
        rows.append(cells)
    return table(head, rows, left=2)


def machine_table(results):
    rows = [[name, str(value)] for name, value in results.data["machine"].items()]
    rows += [["builder", about["version"]] for about in results.data["builders"].values()]
    rows += [["day", results.data.get("date", "")]]
    if not results.full_size():
        rows += [["**size**", f"**{results.data['scale']} of the full one, big base "
                  f"{results.data['big_bytes'] / 1e9:g} GB: a trial, not a measurement**"]]
    return table(["", ""], rows, left=2)
