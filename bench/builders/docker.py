"""`docker build` with the BuildKit that is inside of dockerd.

Debian's docker.io is unpacked below --work, so that nothing on the machine is
installed or started; a docker that is installed is used as it is. Each run has
a dockerd of its own, with its own socket and data, without networks and without
firewall rules. Its CPU and memory, idle or not, are in the figures from the
moment the build starts; its start is not.

Tested with docker.io 20.10.24 (BuildKit of 2021)."""

import os
import shutil
import subprocess

from builders import Builder, flags
from builders.daemon import Daemon

PACKAGES = ["docker.io", "containerd"]


class Docker(Builder):
    name, label, kind = "docker", "docker (BuildKit)", "buildkit"

    def __init__(self, options, work):
        super().__init__(options, work)
        self.daemon = None
        self.socket = f"unix://{work}/docker.sock"
        self.path = os.environ["PATH"] + ":/usr/sbin:/sbin"
        if not shutil.which("dockerd", path=self.path):
            self.unpack(work / "docker-programs")

    def unpack(self, directory):
        if not (directory / "usr/sbin/dockerd").exists():
            downloads = directory / "packages"
            downloads.mkdir(parents=True, exist_ok=True)
            subprocess.run(["apt-get", "download", "-q", *PACKAGES], cwd=downloads, check=True,
                           stdout=subprocess.DEVNULL)
            for package in downloads.glob("*.deb"):
                subprocess.run(["dpkg-deb", "-x", package, directory], check=True)
        self.path = f"{directory}/usr/sbin:{directory}/usr/bin:{self.path}"

    def version_command(self):
        return ["docker", "--version"]

    def refuses(self, scenario):
        if scenario.link:
            return "this BuildKit has no COPY --link"
        if scenario.compression != "gzip":
            return "docker push knows gzip only"
        return None

    def environment(self):
        return {**os.environ, "PATH": self.path, "DOCKER_BUILDKIT": "1",
                "DOCKER_HOST": self.socket, "DOCKER_CONFIG": str(self.work / "docker-config")}

    def fresh(self, registry):
        self.stop()
        self.store.clear()

        def command(group):
            # Containers of RUN stay in the group that is counted.
            parent = ["--cgroup-parent", f"/{group.path.name}"] if group.path else []
            return ["dockerd", "--data-root", f"{self.store.path}/data",
                    "--exec-root", f"{self.work}/docker-exec", "--host", self.socket,
                    "--pidfile", f"{self.work}/docker.pid", "--iptables=false", "--ip6tables=false",
                    "--bridge=none", "--insecure-registry", registry, *parent]

        self.daemon = Daemon(command, self.environment(), self.work / "logs/dockerd.log", self.ready)
        self.group = self.daemon.group

    def ready(self):
        return subprocess.run(["docker", "version"], env=self.environment(), stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0

    def command(self, build):
        script = 'docker build "$@" && docker push --quiet "$TAG"'
        words = ["--network", "host", "--progress", "plain"]
        arguments = build.arguments()
        if build.cache_to:
            # The only remote cache that it writes is the image itself.
            arguments["BUILDKIT_INLINE_CACHE"] = "1"
        if build.cache_from:
            words += ["--cache-from", build.tag]
        words += flags("--build-arg", arguments)
        return ["env", f"TAG={build.tag}", "sh", "-c", script, "docker", *words,
                "-t", build.tag, str(build.context)]

    def stop(self):
        if self.daemon:
            self.daemon.close()
            self.daemon = self.group = None

    def close(self):
        self.stop()
        super().close()
