#!/usr/bin/env python3
"""What a company's builds would cost, from what one build costs here.

    bench/company.py [--builds N] [--peak N] [--days N] ... [--work DIR]

Every assumption is a flag; --help lists them. The medians come from
results.json. `docs/scale.md` says what the formulas mean.
"""

import argparse
import sys
from dataclasses import dataclass, fields
from pathlib import Path

sys.dont_write_bytecode = True


@dataclass
class Assumptions:
    """A company. Shares are of builds and sum to one."""

    builds: float = 100_000  # builds in a day
    peak: float = 4.0  # the busiest hour against the mean of the day
    unchanged: float = 0.25  # share: nothing changed on a fresh machine (scenario i)
    source: float = 0.60  # share: the last COPY changed (scenario b)
    dependencies: float = 0.13  # share: a tree of dependencies changed (scenario c)
    base: float = 0.02  # share: a big base changed and RUN runs on it (scenario f)
    days: float = 14  # lifetime of a cache entry, in days
    tag_days: float = 30  # lifetime of an image's tag, in days
    repositories: float = 2_000  # repositories that are built
    record_bytes: float = 2_000  # one step's record in a cache
    steps: float = 15  # steps of a build that leave a record
    runners: float = 200  # machines that build
    bases: float = 40  # different base images that a runner's store knows
    index_bytes: float = 300_000  # index of one base image
    entry_bytes: float = 300  # one tag in a registry's catalogue
    gc_rate: float = 200  # blobs that garbage collection looks at in a second


SHARES = {"unchanged": "i", "source": "b", "dependencies": "c", "base": "f"}


def mix(results, builder, field, assumed):
    """The mean of a field over the company's builds; None when a part was not
    measured."""
    total = 0.0
    for share, key in SHARES.items():
        value = results.median(key, builder, field)
        if value is None:
            return None
        total += getattr(assumed, share) * max(value, 0)
    return total


def lines(results, builder, assumed):
    """(what, value, how it is made) for one builder; values are None when unknown."""
    def of(field, factor=1.0):
        value = mix(results, builder, field, assumed)
        return None if value is None else value * factor

    day, peak = assumed.builds, assumed.builds * assumed.peak / 86_400
    up = of("up", day)
    # Each build that changed something brings a layer, a configuration and a manifest.
    changed = assumed.builds * (1 - assumed.unchanged)
    blobs = changed * 3 * assumed.days
    records = changed * assumed.steps * assumed.days
    return [
        ("processors busy with building, mean", of("cpu", day / 86_400), "N × cpu / 86,400"),
        ("processors in the busiest hour", of("cpu", peak), "N × k × cpu / 86,400"),
        ("registry requests a second, mean", of("requests", day / 86_400), "N × requests / 86,400"),
        ("registry requests a second, busiest hour", of("requests", peak), "N × k × requests / 86,400"),
        ("from the registry, TB a day", of("down", day / 1e12), "N × down"),
        ("to the registry, TB a day", None if up is None else up / 1e12, "N × up"),
        ("from the registry, Gbit/s in the busiest hour", of("down", peak * 8 / 1e9), "N × k × down × 8 / 86,400"),
        ("layers kept by the registry, TB", None if up is None else up * assumed.days / 1e12, "N × up × T"),
        ("records in the shared cache, GB", records * assumed.record_bytes / 1e9, "N × changed × S × record × T"),
        ("blobs that garbage collection sees, millions", blobs / 1e6, "N × changed × 3 × T"),
        ("hours for one collection", blobs / assumed.gc_rate / 3600, "blobs / rate / 3,600"),
        ("tags in the catalogue, millions", assumed.builds * assumed.tag_days / 1e6, "N × T_tag"),
        ("tags in one repository", assumed.builds * assumed.tag_days / assumed.repositories, "N × T_tag / repositories"),
        ("catalogue, GB", assumed.builds * assumed.tag_days * assumed.entry_bytes / 1e9, "tags × entry"),
        ("store of a runner: indexes, MB", assumed.bases * assumed.index_bytes / 1e6, "bases × index"),
        ("store of a runner: new bytes a day, GB", of("kept", day / assumed.runners / 1e9), "N × kept / runners"),
    ]


def rows(results, assumed=None):
    """One row for each line, one column for each builder with all parts measured."""
    assumed = assumed or Assumptions()
    builders = [name for name in results.data["builders"]
                if all(results.runs(key, name) for key in SHARES.values())]
    columns = [lines(results, name, assumed) for name in builders]
    head = ["", *(results.data["builders"][name]["label"] for name in builders), "formula"]
    if not columns:
        return head, []
    found = []
    for at, (what, _, formula) in enumerate(columns[0]):
        found.append([what, *(shown(column[at][1]) for column in columns), formula])
    return head, found


def shown(value):
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def main():
    from registry import ROOT
    from results import Results

    parser = argparse.ArgumentParser(description="what a company's builds would cost")
    for field in fields(Assumptions):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=float, default=field.default)
    parser.add_argument("--work", type=Path, default=ROOT / "target/bench")
    options = vars(parser.parse_args())
    results = Results(options.pop("work") / "results.json")
    head, found = rows(results, Assumptions(**options))
    for row in [head, *found]:
        print(f"{row[0]:48}" + "".join(f"{cell:>20}" for cell in row[1:-1]) + f"   {row[-1]}")


if __name__ == "__main__":
    main()
