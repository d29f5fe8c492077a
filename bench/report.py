"""docs/performance.md, docs/scale.md and their plots, from results.json.

The words are in bench/pages/, the causes in bench/causes.json: making the pages
again keeps them."""

import json
from pathlib import Path

import company
import plots
import tables
from bases import BIG_BYTES

HERE = Path(__file__).resolve().parent
# Debian below it.
BASE_BYTES = 190_000_000


def read(name):
    found = json.loads((HERE / name).read_text())
    return {key: value for key, value in found.items() if key != "_"}


def write(results, page):
    """Writes `page`, and scale.md and the plots beside it."""
    earlier, causes = read("earlier.json"), read("causes.json")
    size_of_big = (BIG_BYTES + BASE_BYTES) * results.data["scale"]
    parts = {
        "machine": tables.machine_table(results),
        "scenarios": tables.main_table(results),
        "reach": tables.reach_table(results, earlier, causes, size_of_big),
        "earlier": tables.earlier_table(results, earlier),
        "start": tables.start_table(results),
        "growth": tables.growth_table(results),
        "company": tables.table(*company.rows(results)),
    }
    directory = page.parent
    pictures = directory / "performance"
    pictures.mkdir(parents=True, exist_ok=True)
    for name, drawing in plots.all_of_them(results, earlier).items():
        (pictures / name).write_text(drawing.text())
    for source, target in (("performance.md", page), ("scale.md", directory / "scale.md")):
        text = (HERE / "pages" / source).read_text()
        for name, part in parts.items():
            text = text.replace(f"{{{{{name}}}}}", part)
        target.write_text(text)


def terminal(results, keys):
    """What was just measured, on stdout."""
    if keys:
        print(tables.main_table(results, keys))
    if results.data["growth"]:
        print("\n" + tables.growth_table(results))
