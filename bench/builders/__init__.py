"""The builders that can be compared, each in a file of its own.

A builder knows how one build with a push is said in its words, how it is made
to forget everything, and what it cannot do. It does not measure."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from filesystem import Store


@dataclass
class Build:
    """One build, ending with the image in the registry."""

    context: Path
    tag: str
    registry: str
    base: str
    compression: str = "gzip"
    cache_to: str | None = None
    cache_from: str | None = None
    # Whether the same is built more than once.
    cached: bool = False
    # Tells builds apart that run at once; contexts that do not ask ignore it.
    number: int = 0

    def arguments(self):
        """The build arguments that all contexts know."""
        known = {"REGISTRY": self.registry, "BASE": self.base}
        return {**known, "NUMBER": str(self.number)} if self.number else known


class Builder:
    """What all have in common. `label` is for tables, `kind` says whose
    figures of another day belong to it."""

    name = label = kind = ""

    def __init__(self, options, work):
        self.work = work
        self.store = Store(work / f"{self.name}-store", plain=options.plain)
        self.group = None

    def version_command(self):
        """The shortest command that there is: it prints the version."""
        raise NotImplementedError

    def version(self):
        done = subprocess.run(self.version_command(), stdout=subprocess.PIPE, text=True, check=True,
                              env=self.environment())
        return done.stdout.splitlines()[0].strip()

    def refuses(self, scenario):
        """Why this builder cannot do a scenario; None when it can."""
        return None

    def fresh(self, registry):
        """Everything forgotten; daemons new. `registry` is what they may speak
        to without TLS."""
        self.store.clear()

    def command(self, build):
        raise NotImplementedError

    def environment(self):
        raise NotImplementedError

    def close(self):
        self.store.close()


def flags(option, pairs):
    """`--build-arg A=b --build-arg C=d`, as everybody writes it."""
    return [word for name, value in pairs.items() for word in (option, f"{name}={value}")]


def all_of_them():
    """Every builder's class, by the name that --tools takes."""
    from builders.buildah import Buildah
    from builders.buildkit import BuildKit
    from builders.docker import Docker
    from builders.kaniko import Kaniko
    from builders.kiln import Kiln
    return {builder.name: builder for builder in (Kiln, Buildah, Docker, BuildKit, Kaniko)}
