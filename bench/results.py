"""results.json: every single run's numbers, so that a page can be made of
several sessions and a doubtful run can be looked at."""

import json
import os
import statistics

from bases import BIG_BYTES

VERSION = 1


class Results:
    """What has been measured, by scenario and builder."""

    def __init__(self, path, scale=None):
        self.path = path
        self.data = {"version": VERSION, "machine": {}, "builders": {}, "scenarios": {},
                     "growth": {}, "start": {}, "scale": scale or 1, "big_bytes": BIG_BYTES,
                     "processors": len(os.sched_getaffinity(0))}
        if path.exists():
            known = json.loads(path.read_text())
            # Another size would be another measurement.
            if known.get("version") == VERSION and scale in (None, known["scale"]):
                self.data |= known

    def full_size(self):
        """Whether these are measurements and not a trial."""
        return self.data["scale"] == 1 and self.data["big_bytes"] == BIG_BYTES

    def save(self):
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(self.data, indent=1) + "\n")
        fresh.rename(self.path)

    def put(self, scenario, builder, runs):
        self.data["scenarios"].setdefault(scenario, {})[builder] = runs
        self.save()

    def refused(self, scenario, builder, reason):
        self.put(scenario, builder, {"refused": reason})

    def runs(self, scenario, builder):
        """The runs of one line; an empty list when it was not measured."""
        found = self.data["scenarios"].get(scenario, {}).get(builder, [])
        return found if isinstance(found, list) else []

    def median(self, scenario, builder, field):
        values = [run[field] for run in self.runs(scenario, builder)]
        return statistics.median(values) if values else None


def spread(runs, field):
    """Smallest, median and largest."""
    values = [run[field] for run in runs]
    return min(values), statistics.median(values), max(values)
