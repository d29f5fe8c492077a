"""One session of measuring: a registry, a proxy, builders, and what it takes to
run a scenario with one of them."""

import hashlib
import os
import shutil
import sys
from pathlib import Path

import content
import contexts
from bases import BASES
from builders import Build
from measure import Failed, measure
from proxy import CountingProxy

MAKERS = hashlib.sha256(b"".join(
    Path(module.__file__).read_bytes() for module in (contexts, content))).hexdigest()


class Session:
    def __init__(self, work, registry, base, scale):
        self.work, self.registry, self.base, self.scale = work, registry, base, scale
        self.proxy = CountingProxy(registry.address)
        self.fixture = set()
        self.numbers = 0

    def close(self):
        self.proxy.close()

    def need(self, bases):
        """Makes sure that the registry has these."""
        for base in dict.fromkeys((self.base, *bases)):
            say(f"base image {base}")
            BASES[base](self.registry.address, self.base, self.scale)
        self.fixture = self.registry.snapshot()

    def context(self, name, prepare, keep=False, scale=None):
        """The directory that `prepare` fills. One that nothing changes is made
        once for all, as long as its maker does not change either."""
        scale = self.scale if scale is None else scale
        directory = self.work / "contexts" / name
        marker = directory.with_suffix(".made")
        made = f"{scale} {MAKERS}"
        if keep and marker.exists() and marker.read_text() == made:
            return directory
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        prepare(directory, scale)
        if keep:
            marker.write_text(made)
        return directory

    def repository(self, builder):
        """One that nobody pushed to: nothing of it is there yet."""
        self.numbers += 1
        return f"{builder.name}-{os.getpid()}-{self.numbers}"

    def build(self, directory, repository, base=None, **more):
        return Build(directory, f"{self.proxy.address}/{repository}:1", self.proxy.address,
                     base or self.base, **more)

    def run(self, builder, commands):
        """What these commands cost, run at once."""
        command = commands[0] if len(commands) == 1 else together(commands)
        log = self.work / "logs" / f"{builder.name}.log"
        return measure(command, builder.environment(), builder.store, self.proxy, log, builder.group)

    def scenario(self, builder, scenario):
        """One run of a scenario, from an empty store: what its last build cost."""
        directory = self.context(scenario.key, scenario.prepare, scenario.keep_context)
        builder.fresh(self.proxy.address)
        repository = self.repository(builder)
        cache = f"{self.proxy.address}/{repository}-cache" if scenario.remote_cache else None
        kind = {"compression": scenario.compression, "cached": scenario.warm == "here"}
        if scenario.warm == "here":
            before = self.build(directory, repository, cache_to=cache, **kind)
            self.run(builder, [builder.command(before)])
        elif scenario.warm:
            other = self.context(f"{scenario.key}-before", scenario.warm)
            before = self.build(other, f"{repository}-before", cache_to=cache, **kind)
            self.run(builder, [builder.command(before)])
        if scenario.change:
            scenario.change(directory)
        if scenario.fresh_store:
            builder.fresh(self.proxy.address)
        # A trial at a small size is to be fast, and two at once show as much.
        count = scenario.together if self.scale >= 1 else min(scenario.together, 2)
        names = [repository] if count == 1 else [f"{repository}-{at}" for at in range(count)]
        builds = [self.build(directory, name, cache_from=cache, number=at, **kind)
                  for at, name in enumerate(names)]
        commands = [builder.command(build) for build in builds]
        os.sync()
        try:
            return self.run(builder, commands)
        finally:
            self.registry.restore(self.fixture)


def together(commands):
    """One command that runs all of them at once; its exit code is how many failed."""
    script = []
    words = []
    for command in commands:
        places = " ".join(f'"${{{len(words) + at + 1}}}"' for at in range(len(command)))
        words += command
        script.append(f'{places} & jobs="$jobs $!"')
    script.append('failed=0; for job in $jobs; do wait "$job" || failed=$((failed + 1)); done; '
                  'exit $failed')
    return ["sh", "-c", "jobs=\n" + "\n".join(script), "together", *words]


def attempt(action, what):
    """The result of `action`; None, and a word about it, when a builder failed:
    the others go on."""
    try:
        return action()
    except Failed as failed:
        say(f"{what} FAILED: {failed}")
        return None


def say(text):
    print(text, file=sys.stderr, flush=True)
