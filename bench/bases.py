"""Base images for the scenarios, made here and put into the registry once."""

import json
import platform
import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from content import machine_code, script
from layers import LayerStream, Link, Piece
from registry import GZIP_LAYER, Repository

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

# The shape of a real image for machine learning: four layers of libraries and
# models on Debian, 16,000 files, 6.9 GB and 4.2 GB compressed.
BIG_BYTES = 6_900_000_000
BIG_FILES = 16_000
BIG_LAYERS = 4
# What COPY --from=big takes: a library in the middle of the second layer.
WANTED = "opt/big-1/wanted.so"

MILLION = 1_000_000


def put_on(registry, parent, name, layers, stamp):
    """Puts NAME:1 with `layers` on top of PARENT:1, unless it is there."""
    repository = Repository(registry, name)
    here = repository.manifest("1")
    if here and config_of(repository, here).get("author") == stamp:
        return
    parent, tag = parent.split(":")
    below = Repository(registry, parent)
    manifest = below.manifest(tag)
    config = config_of(below, manifest)
    descriptors = list(manifest["layers"])
    for layer in descriptors:
        repository.demand("POST", f"/v2/{name}/blobs/uploads/?mount={layer['digest']}&from={parent}",
                          headers={"Content-Length": "0"})

    def put(files):
        stream = LayerStream(files())
        digest, size = repository.put_stream(iter(stream), stream.finish)
        return {"mediaType": GZIP_LAYER, "digest": digest, "size": size}, stream.diff_id()

    # zlib and hashlib let other threads run.
    with ThreadPoolExecutor(2) as pool:
        for descriptor, diff_id in pool.map(put, layers):
            descriptors.append(descriptor)
            config["rootfs"]["diff_ids"].append(diff_id)
            config.setdefault("history", []).append({"created_by": "bench"})
    # The stamp says what it was made from: another size is another image.
    config["author"] = stamp
    repository.put_image("1", config, descriptors)


def config_of(repository, manifest):
    _, _, text = repository.ask("GET", f"/v2/{repository.name}/blobs/{manifest['config']['digest']}")
    return json.loads(text)


def debian(registry, parent, scale):
    """The base of most builds: Debian without anything that is optional."""
    if not Repository(registry, "debian").manifest("12"):
        subprocess.run([ROOT / "scripts/base-images", registry, "debian:12"], check=True)


def busybox(registry, parent, scale):
    """The smallest base that RUN works on, from this machine's busybox."""
    if Repository(registry, "busybox").manifest("1"):
        return
    program = Path("/bin/busybox").read_bytes()
    applets = subprocess.run(["/bin/busybox", "--list"], check=True, stdout=subprocess.PIPE)
    files = [(f"{name}/", []) for name in ("bin", "etc", "tmp", "root", "proc", "sys", "dev")]
    files.append(("bin/busybox", [program]))
    for applet in applets.stdout.decode().split():
        if applet != "busybox":
            files.append((Link(f"bin/{applet}", "busybox"), []))
    repository = Repository(registry, "busybox")
    stream = LayerStream(files)
    digest, size = repository.put_stream(iter(stream), stream.finish)
    config = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [stream.diff_id()]},
        "history": [{"created_by": "bench"}],
    }
    repository.put_image("1", config, [{"mediaType": GZIP_LAYER, "digest": digest, "size": size}])


def big(registry, parent, scale):
    """Four layers in the shape of an image for machine learning."""
    size = int(BIG_BYTES * scale) // BIG_LAYERS
    bulk = machine_code(random.Random(3), max(4 << 20, min(96 << 20, size & -(1 << 20))))
    with ThreadPoolExecutor(2) as pool:
        large = list(pool.map(Piece, (bulk[at:at + (1 << 20)] for at in range(0, len(bulk), 1 << 20))))
        small = list(pool.map(Piece, (bulk[at:at + (1 << 16)] for at in range(0, 4 << 20, 1 << 16))))
    source = script()
    count = max(4, int(BIG_FILES * scale)) // BIG_LAYERS

    def layer(number):
        return lambda: big_layer(number, size, count, large, small, source)

    put_on(registry, parent, "big", [layer(number) for number in range(BIG_LAYERS)],
           f"big, {size} bytes in a layer, on {parent}")


def big_layer(number, size, count, large, small, source):
    """Most files are source and a few are most of the bytes."""
    chance = random.Random(100 + number)
    top = f"opt/big-{number}"
    yield "opt/", []
    yield f"{top}/", []
    for folder in range(40):
        yield f"{top}/{folder}/", []
    sources = count * 9 // 10
    left = size - sources * 9_000
    libraries = [chance.paretovariate(0.9) for _ in range(count - sources)]
    unit = left / sum(libraries)
    for at in range(sources):
        text = source.text(chance, chance.randrange(1_000, 17_000)).encode()
        yield f"{top}/{at % 40}/module-{at}.py", [text]
    for at, share in enumerate(libraries):
        name = f"{top}/{at % 40}/library-{at}.so"
        if number == 1 and at == len(libraries) // 2:
            yield WANTED, [f"{number} {at}\n".encode(), *chance.choices(large, k=2)]
        wanted = int(share * unit)
        pieces = chance.choices(large, k=wanted >> 20)
        pieces += chance.choices(small, k=(wanted & 0xFFFFF) >> 16)
        # No two files are the same.
        yield name, [f"{number} {at}\n".encode(), *pieces]


def million(registry, parent, scale):
    """A million small files in one layer."""
    count = int(MILLION * scale)

    def files():
        yield "srv/", []
        for folder in range((count + 999) // 1000):
            yield f"srv/{folder:04}/", []
            for at in range(folder * 1000, min(count, folder * 1000 + 1000)):
                yield f"srv/{folder:04}/{at:07}.txt", [b"file %d\n" % at]

    put_on(registry, parent, "million", [files], f"million, {scale}, on {parent}")


def layered(registry, parent, count):
    """`count` layers of a hundred files, for what a layer costs."""
    def layer(number):
        def files():
            yield "srv/", []
            yield f"srv/{number:03}/", []
            for at in range(100):
                yield f"srv/{number:03}/{at:03}.txt", [b"layer %d file %d\n" % (number, at) * 40]
        return files

    put_on(registry, parent, f"layered-{count}", [layer(number) for number in range(count)],
           f"layered, on {parent}")


BASES = {"debian:12": debian, "busybox:1": busybox, "big:1": big, "million:1": million}
