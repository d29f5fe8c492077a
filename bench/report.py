"""docs/performance.md, docs/scale.md and their plots, from results.json.

The words are in bench/pages/, the causes in bench/causes.json: making the pages
again keeps them."""

import json
from pathlib import Path

import company
import plots
import tables
from goals import BASE_BYTES

HERE = Path(__file__).resolve().parent


def read(name):
    found = json.loads((HERE / name).read_text())
    return {key: value for key, value in found.items() if key != "_"}


def write(results, page):
    """Writes `page`, and scale.md and the plots beside it."""
    earlier, causes = read("earlier.json"), read("causes.json")
    if not results.full_size():
        # Another size is not to be compared.
        earlier = {}
    size_of_big = (results.data["big_bytes"] + BASE_BYTES) * results.data["scale"]
    parts = {
        "machine": tables.machine_table(results),
        "scenarios": tables.main_table(results),
        "reach": tables.reach_table(results, earlier, causes, size_of_big),
        "earlier": tables.earlier_table(results, earlier),
        "start": tables.start_table(results),
        "growth": tables.growth_table(results),
        "assumptions": tables.table(*company.assumptions(), left=2),
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


def terminal(results, keys, axes):
    """What was just measured, on stdout."""
    if keys:
        print(tables.main_table(results, keys))
    if axes:
        print(tables.growth_table(results, axes))
