"""BuildKit itself, from the paths of `buildctl` and `buildkitd`.

With --buildkitd each run starts a daemon on an empty store, with a worker on
the host's network and no garbage collection; its CPU and memory are in the
figures. With --buildkitd-address somebody else's daemon is used: then "cold" is
`buildctl prune --all`, and CPU, memory and disk are those of the client alone.
That daemon must be allowed to speak HTTP to loopback.

Written against the flags of BuildKit 0.12 and later; the machine on which the
published figures were made did not have it."""

import os
import subprocess

from builders import Builder, flags
from builders.daemon import Daemon


class BuildKit(Builder):
    name, label, kind = "buildkit", "BuildKit", "buildkit"

    def __init__(self, options, work):
        super().__init__(options, work)
        if not options.buildctl or not (options.buildkitd or options.buildkitd_address):
            raise SystemExit("buildkit needs --buildctl, and --buildkitd or --buildkitd-address")
        self.client, self.server = str(options.buildctl), options.buildkitd
        self.address = options.buildkitd_address or f"unix://{work}/buildkitd.sock"
        self.daemon = None

    def version_command(self):
        return [self.client, "--version"]

    def environment(self):
        return dict(os.environ)

    def fresh(self, registry):
        self.stop()
        if not self.server:
            self.store.path.mkdir(exist_ok=True)
            self.ask("prune", "--all", check=True)
            return
        self.store.clear()
        configuration = self.work / "buildkitd.toml"

        def command(group):
            text = f'[registry."{registry}"]\n  http = true\n'
            if group.path:
                # Containers of RUN stay in the group that is counted.
                text += f'[worker.oci]\n  defaultCgroupParent = "/{group.path.name}"\n'
            configuration.write_text(text)
            return [str(self.server), "--root", f"{self.store.path}/buildkit", "--addr", self.address,
                    "--config", str(configuration), "--oci-worker-net", "host",
                    "--oci-worker-gc=false", "--containerd-worker=false"]

        self.daemon = Daemon(command, self.environment(), self.work / "logs/buildkitd.log",
                             lambda: self.ask("debug", "workers").returncode == 0)
        self.group = self.daemon.group

    def ask(self, *words, check=False):
        return subprocess.run([self.client, "--addr", self.address, *words], check=check,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def command(self, build):
        words = [self.client, "--addr", self.address, "build", "--progress", "plain",
                 "--frontend", "dockerfile.v0", "--local", f"context={build.context}",
                 "--local", f"dockerfile={build.context}"]
        words += flags("--opt", {f"build-arg:{name}": value
                                 for name, value in build.arguments().items()})
        output = f"type=image,name={build.tag},push=true"
        if build.compression != "gzip":
            output += f",compression={build.compression}"
        if build.cache_to:
            words += ["--export-cache", f"type=registry,ref={build.cache_to},mode=max"]
        if build.cache_from:
            words += ["--import-cache", f"type=registry,ref={build.cache_from}"]
        return [*words, "--output", output]

    def stop(self):
        if self.daemon:
            self.daemon.close()
            self.daemon = self.group = None

    def close(self):
        self.stop()
        super().close()
