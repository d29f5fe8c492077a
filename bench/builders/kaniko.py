"""kaniko, from the path of its `executor`.

kaniko replaces the root file system that it runs in, so it runs in a box: a new
directory on its store, entered with pivot_root in mount and process namespaces
of its own, from which the old root is unmounted before the executor starts. The
script refuses to go on if that failed. The context is mounted read-only.

The box was tested with a program that lists and deletes all that it can reach;
the executor itself was not on the machine on which the published figures were
made. It costs about 0.1 CPU seconds and the size of the executor on disk, which
are in the figures. It has no local cache: rebuilds use its cache in the registry."""

import os

from builders import Builder, flags

# $1 is the box, $2 the context, the rest the command.
BOX = """\
set -eu
box=$1 context=$2
shift 2
mount --make-rprivate /
mount --bind "$box" "$box"
mount --bind -o ro "$context" "$box/workspace"
mount -o remount,bind,ro "$box/workspace"
mount -t proc proc "$box/proc"
mount -t tmpfs tmpfs "$box/dev"
for device in null zero random urandom; do
    touch "$box/dev/$device"
    mount --bind "/dev/$device" "$box/dev/$device"
done
cd "$box"
pivot_root . old
exec /kaniko/busybox sh -c '
    set -eu
    /kaniko/busybox umount -l /old
    cd /
    # Nothing of the machine may be reachable now.
    [ -z "$(/kaniko/busybox ls -A /old)" ] || exit 97
    exec "$@"
' box "$@"
"""


class Kaniko(Builder):
    name = label = kind = "kaniko"

    def __init__(self, options, work):
        super().__init__(options, work)
        if not options.kaniko:
            raise SystemExit("kaniko needs --kaniko, the path of its executor")
        if options.plain:
            raise SystemExit("kaniko replaces its root file system: not without --work's own")
        self.executor = options.kaniko.resolve()

    def version_command(self):
        return [str(self.executor), "version"]

    def refuses(self, scenario):
        if scenario.together > 1:
            return "kaniko has no store that builds could share"
        return None

    def environment(self):
        return {"PATH": os.environ["PATH"], "HOME": "/root", "SSL_CERT_DIR": "/kaniko/ssl/certs"}

    def command(self, build):
        box = f"{self.store.path}/box"
        # A new box for each build; making it is part of what it costs.
        make = ('set -eu; rm -rf --one-file-system "$1"; '
                'mkdir -p "$1"/kaniko/ssl/certs "$1"/workspace "$1"/proc "$1"/dev "$1"/old "$1"/root; '
                'cp "$0" "$1"/kaniko/executor; cp /bin/busybox "$1"/kaniko/busybox; '
                'exec unshare --mount --pid --fork --kill-child sh -c "$2" box "$1" "$3" '
                '/kaniko/executor "${@:4}"')
        words = ["--context", "dir:///workspace", "--destination", build.tag, "--insecure",
                 "--insecure-pull", "--force", "--ignore-path", "/old",
                 "--compression", build.compression]
        if build.cached:
            # Here a rebuild is what another machine's would be.
            cache = build.cache_from or build.cache_to or build.tag.rsplit(":", 1)[0] + "-cache"
            words += ["--cache", "--cache-copy-layers", "--cache-repo", cache]
        words += flags("--build-arg", build.arguments())
        return ["bash", "-c", make, str(self.executor), box, BOX, str(build.context), *words]
