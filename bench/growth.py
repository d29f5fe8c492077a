"""How cost grows with the work: 1, 2, 4 and 8 times as much, and the exponent."""

import math
import statistics

import bases
import contexts
from session import say

TIMES = (1, 2, 4, 8)
# A small one, so that what does not grow does not hide what does.
BASE = "busybox:1"
# A context that all builds of the last axis share.
STEPS_OF_A_BUILD = contexts.ten_steps_of_many


class Axis:
    """`prepare(times)` makes the function that fills the context. `layers(times)`
    is how many layers the base has. `rebuild` measures a second build of the
    same, `together(times)` is how many builds run at once."""

    def __init__(self, key, title, unit, amount, prepare, layers=None, rebuild=False, together=False):
        self.key, self.title, self.unit, self.amount = key, title, unit, amount
        self.prepare, self.layers = prepare, layers
        self.rebuild, self.together = rebuild, together


AXES = [
    Axis("files", "files in a COPY, cold", "files", 5_000,
         lambda count: contexts.files(count, 2_000)),
    Axis("files-known", "files in a context, nothing changed", "files", 5_000,
         lambda count: contexts.files(count, 2_000), rebuild=True),
    Axis("bytes", "bytes in a COPY, cold", "MB", 100,
         lambda count: contexts.files(count // 4, 4_000_000)),
    Axis("layers", "layers of a base, cold", "layers", 12, contexts.on_layers, layers=True),
    Axis("steps", "RUN steps, cold", "steps", 8, contexts.runs),
    Axis("steps-known", "RUN steps, nothing changed", "steps", 8, contexts.runs, rebuild=True),
    Axis("builds", "builds at once on one store, cold", "builds", 4,
         lambda count: STEPS_OF_A_BUILD, together=True),
]


def grow(session, builder, axis, repeat):
    """Runs of an axis, by amount."""
    found = {}
    for times in TIMES:
        amount = axis.amount * times
        if session.scale < 1:
            amount = max(times, int(amount * session.scale))
        if axis.layers:
            bases.layered(session.registry.address, BASE, amount)
            session.fixture = session.registry.snapshot()
        # The amount is in the context's name: it is made once for all runs.
        name = f"{axis.key.split('-')[0]}-{amount}"
        directory = session.context(name, axis.prepare(amount), keep=True, scale=1)
        runs = []
        for _ in range(repeat):
            builder.fresh(session.proxy.address)
            repository = session.repository(builder)
            names = [f"{repository}-{at}" for at in range(amount)] if axis.together else [repository]
            builds = [session.build(directory, name, BASE, cached=axis.rebuild, number=at)
                      for at, name in enumerate(names)]
            commands = [builder.command(build) for build in builds]
            if axis.rebuild:
                session.run(builder, commands)
            runs.append(session.run(builder, commands))
            session.registry.restore(session.fixture)
        found[str(amount)] = runs
        say(f"growth {axis.key} × {times}: {builder.name} "
            f"{statistics.median(run['cpu'] for run in runs):.2f} s CPU")
    return found


def exponent(points):
    """The slope of the logarithms by least squares: 1 is in proportion, below is
    better. None where there is nothing to fit."""
    points = [(math.log(x), math.log(y)) for x, y in points if x > 0 and y > 0]
    if len(points) < 2:
        return None
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    below = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / below
