"""Bytes like those that images are made of, the same on every machine.

Random bytes would flatter nobody's compression and repeated ones everybody's,
so both makers are tuned to what real trees compress to (`gzip -6`): source
code to a quarter, libraries and models to 61 %.
"""

import functools
import random

WORDS = (
    "get set add remove update create delete find parse read write open close init start stop "
    "value key name type node list item index count size length data result error message event "
    "handler callback options config state props context request response path file buffer "
    "string number object array map filter reduce module exports require default token source "
    "target parent child element attribute style render mount schema validate encode decode "
    "stream queue cache entry scope symbol property descriptor prototype iterator promise async"
).split()

# `{0}` to `{5}` are names of the file that a line stands in, `{6}` to `{8}` of the line.
SHAPES = (
    "function {6}({0}, {1}) {{\n",
    "  const {6} = {0}.{7}({8});\n",
    "  if ({0} === {6} || typeof {7} !== 'undefined') {{\n",
    "    return {1}.{6}({7}, '{8}');\n",
    "  }}\n",
    "}}\n\n",
    "  for (let {6} = 0; {6} < {7}.length; {6}++) {{\n",
    "    {2}.push({6}[{7}]);\n",
    "exports.{6} = {3};\n",
    "  throw new TypeError('{6} of {7} is not a {8}');\n",
    "  // {6} {7} the {8} when there is no {4}\n",
    " * @param {{{6}}} {7} {8} of this {5}\n",
    "    .then(({6}) => {2}.{7}({6}, {8}))\n",
    "var {6} = require('./{7}-{8}');\n",
    "  this.{6} = {0}.{7} | 0x{9:x};\n",
    "    case {10}: {6} = {7}; break;\n",
    "  return new {6}({0}, {{ {7}: true, {8}: {10} }});\n",
    "Object.defineProperty({3}, '{6}', {{ get: function () {{ return {7}.{8}; }} }});\n",
)


class Script:
    """Source code, a library's worth of lines prepared at once."""

    LINES = 60_000

    def __init__(self):
        chance = random.Random(1)
        self.names = [name(chance) for _ in range(6_000)]
        # A few names are everywhere and most are rare, as in all texts.
        weights = [1 / (rank + 10) for rank in range(len(self.names))]
        picks = iter(chance.choices(self.names, weights, k=3 * self.LINES))
        self.lines = []
        for _ in range(self.LINES):
            words = [next(picks), next(picks), next(picks)]
            # What belongs to the file is filled in later.
            places = [f"{{{at}}}" for at in range(6)]
            shape = chance.choice(SHAPES)
            line = shape.format(*places, *words, chance.getrandbits(24), chance.randrange(1000))
            # Braces that stay must survive the second filling in.
            for at in range(6):
                line = line.replace(f"{{{at}}}", f"\0{at}")
            self.lines.append(line)

    def text(self, chance, size):
        """About `size` bytes of a file."""
        lines = chance.choices(self.lines, k=size // 36 + 1)
        text = "".join(lines)
        for at in range(6):
            text = text.replace(f"\0{at}", chance.choice(self.names))
        return text[:size]


@functools.cache
def script():
    """The one that all contexts and bases take their lines from."""
    return Script()


def name(chance):
    first, *rest = chance.choices(WORDS, k=chance.choice((1, 2, 2, 3)))
    tail = str(chance.randrange(100)) if chance.random() < 0.2 else ""
    return first + "".join(map(str.capitalize, rest)) + tail


def machine_code(chance, size):
    """Like a library: short sequences that come back, and tables of numbers."""
    known = [chance.randbytes(chance.choice((2, 3, 4, 4, 5, 6, 7, 8, 12))) for _ in range(2_000)]
    weights = [1 / (rank + 16) for rank in range(len(known))]
    parts, total = [], 0
    while total < size:
        code = b"".join(chance.choices(known, weights, k=10_000))
        # Weights of a model, or compiled kernels: nothing to be found in them.
        table = chance.randbytes(chance.choice((6_000, 12_000, 24_000)))
        parts += [code, table]
        total += len(code) + len(table)
    return b"".join(parts)[:size]
