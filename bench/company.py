#!/usr/bin/env python3
"""What a company's builds would cost, from what one build costs here.

    bench/company.py [--builds N] [--peak N] [--days N] ... [--work DIR]

Every assumption is a flag; --help lists them. The medians come from
results.json. `docs/scale.md` says what the formulas mean.
"""

import argparse
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path

sys.dont_write_bytecode = True


def assumed(symbol, value, what):
    return field(default=value, metadata={"symbol": symbol, "what": what})


@dataclass
class Assumptions:
    """A company. Shares are of builds and sum to one."""

    builds: float = assumed("N", 100_000, "builds a day")
    peak: float = assumed("k", 4, "the busiest hour against the mean of the day")
    unchanged: float = assumed("s_i", 0.25, "share: nothing changed, on a fresh machine with the shared cache (i)")
    source: float = assumed("s_b", 0.60, "share: the last COPY changed (b)")
    dependencies: float = assumed("s_c", 0.13, "share: a tree of 57,144 dependencies changed (c)")
    base: float = assumed("s_f", 0.02, "share: a base of 6.9 GB is new and RUN runs on it (f)")
    days: float = assumed("T", 14, "days that a cache entry lives, and layers that only it names")
    tag_days: float = assumed("T_tag", 30, "days that an image's tag lives")
    repositories: float = assumed("R", 2_000, "repositories that are built")
    steps: float = assumed("S", 15, "steps of a build that leave a record")
    record_bytes: float = assumed("record", 2_000, "bytes of a record in the shared cache")
    runners: float = assumed("runners", 200, "machines that build and keep their store")
    bases: float = assumed("bases", 40, "different base images that one runner knows")
    index_bytes: float = assumed("index", 300_000, "bytes of one base's index")
    entry_bytes: float = assumed("entry", 300, "bytes of one tag in a registry's catalogue")
    gc_rate: float = assumed("rate", 200, "blobs a second that a registry's garbage collection looks at")


SHARES = {"unchanged": "i", "source": "b", "dependencies": "c", "base": "f"}


def mix(results, builder, measure, company):
    """The mean of a field over the company's builds; None when a part was not
    measured."""
    total = 0.0
    for share, key in SHARES.items():
        if not getattr(company, share):
            continue
        value = results.median(key, builder, measure)
        if value is None:
            return None
        total += getattr(company, share) * max(value, 0)
    return total


def lines(results, builder, company):
    """(what, value, how it is made) for one builder; values are None when unknown."""
    def of(measure, factor=1.0):
        value = mix(results, builder, measure, company)
        return None if value is None else value * factor

    day, peak = company.builds, company.builds * company.peak / 86_400
    up = of("up", day)
    # Each build that changed something brings a layer, a configuration and a manifest.
    changed = company.builds * (1 - company.unchanged)
    blobs = changed * 3 * company.days
    records = changed * company.steps * company.days
    return [
        ("processors busy with building, mean", of("cpu", day / 86_400), "N × cpu / 86,400"),
        ("processors in the busiest hour", of("cpu", peak), "N × k × cpu / 86,400"),
        ("registry requests a second, mean", of("requests", day / 86_400), "N × requests / 86,400"),
        ("registry requests a second, busiest hour", of("requests", peak), "N × k × requests / 86,400"),
        ("from the registry, TB a day", of("down", day / 1e12), "N × down"),
        ("to the registry, TB a day", None if up is None else up / 1e12, "N × up"),
        ("from the registry, Gbit/s in the busiest hour", of("down", peak * 8 / 1e9), "N × k × down × 8 / 86,400"),
        ("layers kept by the registry, TB", None if up is None else up * company.days / 1e12, "N × up × T"),
        ("records in the shared cache, GB", records * company.record_bytes / 1e9, "N × changed × S × record × T"),
        ("blobs that garbage collection sees, millions", blobs / 1e6, "N × changed × 3 × T"),
        ("hours for one collection", blobs / company.gc_rate / 3600, "blobs / rate / 3,600"),
        ("tags in the catalogue, millions", company.builds * company.tag_days / 1e6, "N × T_tag"),
        ("tags in one repository", company.builds * company.tag_days / company.repositories, "N × T_tag / R"),
        ("catalogue, GB", company.builds * company.tag_days * company.entry_bytes / 1e9, "tags × entry"),
        ("store of a runner: indexes, MB", company.bases * company.index_bytes / 1e6, "bases × index"),
        ("store of a runner: new bytes a day, GB", of("kept", day / company.runners / 1e9), "N × kept / runners"),
    ]


def rows(results, company=None):
    """One row for each line, one column for each builder with all parts measured."""
    company = company or Assumptions()
    builders = [name for name in results.data["builders"]
                if mix(results, name, "cpu", company) is not None]
    columns = [lines(results, name, company) for name in builders]
    head = ["", *(results.data["builders"][name]["label"] for name in builders), "formula"]
    if not columns:
        return head, []
    found = []
    for at, (what, _, formula) in enumerate(columns[0]):
        found.append([what, *(shown(column[at][1]) for column in columns), formula])
    return head, found


def assumptions():
    """The table of what is assumed."""
    return ["", "assumption", "value"], [
        [one.metadata["symbol"], one.metadata["what"], f"{one.default:,}"] for one in fields(Assumptions)]


def shown(value):
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def main():
    from registry import ROOT
    from results import Results

    parser = argparse.ArgumentParser(description="what a company's builds would cost")
    for one in fields(Assumptions):
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=float, default=one.default,
                            help=f"{one.metadata['what']} [default: %(default)s]")
    parser.add_argument("--work", type=Path, default=ROOT / "target/bench")
    options = vars(parser.parse_args())
    results = Results(options.pop("work") / "results.json")
    head, found = rows(results, Assumptions(**options))
    for row in [head, *found]:
        print(f"{row[0]:48}" + "".join(f"{cell:>20}" for cell in row[1:-1]) + f"   {row[-1]}")


if __name__ == "__main__":
    main()
