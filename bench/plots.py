"""The pictures of the pages: cost against other builders, growth, memory."""

import math

from drawing import Drawing
from growth import AXES, exponent
from scenarios import SCENARIOS
from tables import growth_points, label, seconds

LEFT, RIGHT, BAR, GAP, TOP = 326, 70, 11, 12, 62
WIDTH = 860


class LogScale:
    """Places on a logarithmic axis of whole decades."""

    def __init__(self, values, start, end):
        values = [value for value in values if value > 0] or [1]
        self.low = math.floor(math.log10(min(values)))
        # Room for the number behind the longest bar.
        self.high = max(self.low + 1, math.log10(max(values)) + 0.1)
        self.start, self.end = start, end

    def at(self, value):
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def decades(self):
        return [10.0**power for power in range(self.low, math.floor(self.high) + 1)]


def cpu_ratios(results, earlier):
    """How many times kiln's CPU others need: a bar each, outlines for figures
    of another day."""
    rows = []
    for scenario, ours in of_kiln(results, "cpu"):
        source = scenario.others or scenario.key
        bars = [(kind, label(results, name), value / ours, False)
                for name, kind, value in peers(results, source, "cpu")]
        bars += [(name, "", cost["cpu"] / ours, True) for name, cost in earlier.get(source, {}).items()]
        if bars:
            rows.append((scenario, f"kiln {seconds(ours)} s", bars))
    return horizontal("CPU seconds of others, as a multiple of kiln's", rows, "×",
                      limits=[(1, "kiln")])


def memory(results):
    """Peak resident memory of everybody."""
    rows = []
    for scenario, ours in of_kiln(results, "rss"):
        bars = [("kiln", "kiln", ours / 2**20, False)]
        bars += [(kind, label(results, name), value / 2**20, False)
                 for name, kind, value in peers(results, scenario.others or scenario.key, "rss")]
        rows.append((scenario, "", bars))
    return horizontal("Peak resident memory, MiB", rows, "", limits=[(64, "64"), (256, "256")])


def of_kiln(results, field):
    for scenario in SCENARIOS:
        value = results.median(scenario.key, "kiln", field)
        if value:
            yield scenario, value


def peers(results, key, field):
    for name, about in results.data["builders"].items():
        value = results.median(key, name, field)
        if name != "kiln" and value:
            yield name, about["kind"], value


def horizontal(title, rows, unit, limits):
    values = [bar[2] for _, _, bars in rows for bar in bars] + [value for value, _ in limits]
    scale = LogScale(values, LEFT, WIDTH - RIGHT)
    height = TOP + sum(len(bars) * BAR + GAP for _, _, bars in rows) + 34
    drawing = Drawing(WIDTH, height, title)
    drawing.words(16, 24, title, size=15)
    legend(drawing, rows)
    foot = height - 26
    for decade in scale.decades():
        x = scale.at(decade)
        drawing.line(x, TOP - 6, x, foot)
        drawing.words(x, foot + 16, f"{decade:g}{unit}", "soft", "middle", 11)
    # Below the bars, or they would cross out the numbers.
    for value, name in limits:
        drawing.line(scale.at(value), TOP - 6, scale.at(value), foot, "limit")
        drawing.words(scale.at(value), TOP - 10, name, "ink", "middle", 10)
    y = TOP
    for scenario, note, bars in rows:
        middle = y + len(bars) * BAR / 2 + 4
        drawing.words(16, middle, scenario.key, size=12)
        drawing.words(118, middle, short(scenario.title), "soft", size=11)
        if note and len(bars) > 1:
            drawing.words(118, middle + 13, note, "soft", size=10)
        for kind, _, value, before in bars:
            x, end = scale.at(min(1, value) if unit else scale.decades()[0]), scale.at(value)
            if unit:
                x, end = min(scale.at(1), end), max(scale.at(1), end)
            (drawing.hollow if before else drawing.bar)(x, y + 1, end - x, BAR - 2, kind)
            drawing.words(end + 4, y + BAR - 2, number(value) + unit, "soft", size=10)
            y += BAR
        y += GAP
    return drawing


def legend(drawing, rows):
    seen = {}
    for _, _, bars in rows:
        for kind, name, _, before in bars:
            seen.setdefault((kind, before), name if not before else f"{kind}, an earlier day")
    x = 16
    for (kind, before), name in seen.items():
        (drawing.hollow if before else drawing.bar)(x, 34, 12, 9, kind)
        drawing.words(x + 17, 42, name, "soft", size=11)
        x += 34 + 6.2 * len(name)


def short(title):
    return title if len(title) <= 36 else title[:35] + "…"


def number(value):
    return f"{value:,.0f}" if value >= 20 else f"{value:.1f}" if value >= 2 else f"{value:.2f}"


PANEL_WIDTH, PANEL_HEIGHT, PANELS_IN_A_ROW = 280, 190, 3


def growth(results):
    """CPU of kiln as the work doubles, a small plot for each kind of work."""
    axes = [axis for axis in AXES if growth_points(results, axis.key, "cpu")]
    rows = math.ceil(len(axes) / PANELS_IN_A_ROW)
    drawing = Drawing(PANEL_WIDTH * PANELS_IN_A_ROW + 20, 46 + rows * PANEL_HEIGHT,
                      "CPU seconds of kiln as the work grows")
    drawing.words(16, 24, "CPU seconds of kiln as the work grows (both axes logarithmic; dashed: in proportion)",
                  size=14)
    for at, axis in enumerate(axes):
        panel(drawing, results, axis, 20 + at % PANELS_IN_A_ROW * PANEL_WIDTH,
              40 + at // PANELS_IN_A_ROW * PANEL_HEIGHT)
    return drawing


def panel(drawing, results, axis, left, top):
    points = [(x, y) for x, y in growth_points(results, axis.key, "cpu") if y > 0]
    slope = exponent(points)
    drawing.words(left + 34, top + 14, axis.title, size=11)
    drawing.words(left + 34, top + 28, "" if slope is None else f"exponent {slope:.2f}", "kiln", size=11)
    x0, x1, y0, y1 = left + 34, left + PANEL_WIDTH - 26, top + PANEL_HEIGHT - 30, top + 36
    # Equal decades on both axes would be honest and empty: one factor of 16 fits.
    def x_of(x):
        return x0 + math.log(x / points[0][0]) / math.log(points[-1][0] / points[0][0]) * (x1 - x0)
    lowest = min(y for _, y in points)
    def y_of(y):
        return y0 - 8 - math.log(y / lowest) / math.log(16) * (y0 - y1 - 8)
    drawing.line(x0, y0, x1, y0)
    drawing.line(x0, y0, x0, y1)
    for x, y in points:
        drawing.words(x_of(x), y0 + 13, compact(x), "soft", "middle", 9)
    times = points[-1][0] / points[0][0]
    drawing.line(x_of(points[0][0]), y_of(points[0][1]), x_of(points[-1][0]),
                 y_of(points[0][1] * times), "limit")
    drawing.path([(x_of(x), y_of(y)) for x, y in points], "kiln")
    for x, y in points:
        drawing.dot(x_of(x), y_of(y), "kiln")
        drawing.words(x_of(x), y_of(y) + 16 if y_of(y) < y0 - 24 else y_of(y) - 8, seconds(y), "soft", "middle", 9)
    drawing.words((x0 + x1) / 2, y0 + 25, axis.unit, "soft", "middle", 9)


def compact(value):
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def all_of_them(results, earlier):
    """File names and drawings."""
    return {"cpu.svg": cpu_ratios(results, earlier), "memory.svg": memory(results),
            "growth.svg": growth(results)}
