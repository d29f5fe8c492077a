"""The directories that are built: each function fills one and is told how much
of the full size is wanted."""

import random

from content import script

HEAD = "ARG REGISTRY\nARG BASE\n"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def dockerfile(directory, *lines, base="${BASE}"):
    text = HEAD + f"FROM ${{REGISTRY}}/{base}\n" + "".join(f"{line}\n" for line in lines)
    write(directory / "Dockerfile", text)


def sources(directory, seed, count, size):
    chance = random.Random(seed)
    for number in range(count):
        write(directory / f"{number:03}.js", script().text(chance, size))


def ten_steps(directory, scale, first=()):
    """Ten steps and 202 files, as most builds are; the last is a COPY of 1 MB."""
    dockerfile(
        directory,
        *first,
        "WORKDIR /app",
        "COPY package.json ./",
        "RUN mkdir node_modules && cp package.json node_modules/done",
        "COPY library library",
        "RUN cat library/* | sha256sum > library.sum",
        "RUN mkdir out && cat library/*0.js > out/library.js",
        "COPY tools.sh ./",
        "RUN chmod 755 tools.sh && ./tools.sh > tools.out",
        "RUN echo checked > out/checked",
        "COPY src src",
        'CMD ["cat", "out/library.js"]',
    )
    write(directory / "package.json", '{"name": "application"}\n')
    write(directory / "tools.sh", "#!/bin/sh\necho tools\n")
    sources(directory / "library", 11, 100, 4_000)
    sources(directory / "src", 12, 100, 10_000)


def ten_steps_of_many(directory, scale):
    """The same, for builds that have nothing but their base in common."""
    ten_steps(directory, scale, first=("ARG NUMBER", "RUN echo $NUMBER > /number"))


def change_last_copy(directory):
    with open(directory / "src/000.js", "a") as file:
        file.write("//\n")


MODULES_FILES = 57_144
MODULES_BYTES = 374_000_000


def node_modules(directory, scale):
    """57,144 files of source code, 418 MB as a tar."""
    dockerfile(directory, "COPY . /app")
    source, chance = script(), random.Random(21)
    count = max(20, int(MODULES_FILES * scale))
    sizes = [chance.lognormvariate(7.6, 1.5) for _ in range(count)]
    unit = MODULES_BYTES * scale / sum(sizes)
    for number, size in enumerate(sizes):
        # About twenty files in a directory, a few directories in a package.
        package, folder = number // 57, number // 19 % 3
        place = directory / f"node_modules/package-{package:04}" / ("", "lib", "dist/cjs")[folder]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"module-{number:05}.js").write_text(source.text(chance, max(40, int(size * unit))))


def runs(count):
    def prepare(directory, scale):
        dockerfile(directory, *(f"RUN echo {at} > /step-{at}" for at in range(count)))
    return prepare


def four_stages(directory, scale):
    """Four stages of which each keeps a core busy for three seconds, and one
    that takes their results."""
    megabytes = max(1, int(1_100 * scale))
    text = HEAD
    for at in range(4):
        # Different bytes, or the stages would be one.
        work = f"(echo {at}; head -c {megabytes}000000 /dev/zero) | sha256sum > /out-{at}"
        text += f"FROM ${{REGISTRY}}/${{BASE}} AS stage-{at}\nRUN {work}\n"
    text += "FROM ${REGISTRY}/${BASE}\n"
    text += "".join(f"COPY --from=stage-{at} /out-{at} /\n" for at in range(4))
    write(directory / "Dockerfile", text)


def on_big(*lines):
    def prepare(directory, scale):
        dockerfile(directory, *lines, base="big:1")
        write(directory / "hello.txt", "hello\n")
    return prepare


RUN_ON_BIG = on_big("RUN echo done > /done", "COPY hello.txt /hello.txt")
COPY_ON_BIG = on_big("ENV A=b", "LABEL c=d", "WORKDIR /work", "COPY hello.txt ./", 'CMD ["sh"]')
LINK_ON_BIG = on_big("ENV A=b", "LABEL c=d", "COPY --link hello.txt /", 'CMD ["sh"]')
WORDS_ON_BIG = on_big("ENV A=b", "LABEL c=d", 'CMD ["sh"]')
# Makes a base's index known and nothing else.
ANOTHER_ON_BIG = on_big("COPY hello.txt /another.txt")


def one_file_of_big(directory, scale):
    from bases import WANTED
    dockerfile(directory, f"COPY --from=big /{WANTED} /wanted.so",)
    text = (directory / "Dockerfile").read_text()
    stage = "FROM ${REGISTRY}/big:1 AS big\n"
    write(directory / "Dockerfile", text.replace(HEAD, HEAD + stage))


def much_written(directory, scale):
    """RUN leaves 2 GB of noise and 1 GB of text."""
    noise, text = int(2_000_000_000 * scale), int(1_000_000_000 * scale)
    dockerfile(directory, f"RUN head -c {noise} /dev/urandom > /noise && "
                          f"seq 1 {text} | head -c {text} > /text")


def many_ignored(directory, scale):
    """200,000 files that are ignored, and twenty that are wanted."""
    dockerfile(directory, "COPY . /app")
    write(directory / ".dockerignore", "node_modules\n")
    for number in range(int(200_000 * scale)):
        place = directory / f"node_modules/package-{number // 100:04}"
        if number % 100 == 0:
            place.mkdir(parents=True)
        (place / f"{number % 100:02}.js").write_bytes(b"// %d\n" % number)
    sources(directory / "src", 13, 20, 4_000)


def fifty_steps(directory, scale):
    lines = ["WORKDIR /app"]
    for at in range(16):
        lines += [f"COPY src/{at:03}.js src/", f"RUN echo {at} > step-{at}", f"ENV STEP_{at}={at}"]
    lines += ["RUN cat src/* > all.js"]
    dockerfile(directory, *lines)
    sources(directory / "src", 14, 16, 8_000)


def touch_on_million(directory, scale):
    dockerfile(directory, "RUN touch /new", base="million:1")


def another_on_million(directory, scale):
    dockerfile(directory, "COPY hello.txt /another.txt", base="million:1")
    write(directory / "hello.txt", "hello\n")


def files(count, size):
    def prepare(directory, scale):
        dockerfile(directory, "COPY files /files")
        chance = random.Random(31)
        text = script().text(chance, 4 << 20)
        for number in range(max(1, int(count * scale))):
            place = directory / f"files/{number // 200:04}"
            place.mkdir(parents=True, exist_ok=True)
            start = chance.randrange(len(text) - size)
            # The number makes each of them another file.
            (place / f"{number:06}.js").write_text(f"// {number}\n" + text[start:start + size])
    return prepare


def on_layers(count):
    def prepare(directory, scale):
        dockerfile(directory, "COPY hello.txt /", base=f"layered-{count}:1")
        write(directory / "hello.txt", "hello\n")
    return prepare


def nothing(directory, scale):
    write(directory / "Dockerfile", "FROM scratch\nENV A=b\n")
