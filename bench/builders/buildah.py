"""Debian's buildah, in the way that works without privileges: `--isolation
chroot`. `--layers` makes it keep a cache."""

import os

from builders import Builder, flags


class Buildah(Builder):
    name = label = kind = "buildah"

    def __init__(self, options, work):
        super().__init__(options, work)
        self.configuration = work / "buildah-storage.conf"
        self.configuration.write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{self.store.path}/graph"\n'
            f'runroot = "{self.store.path}/run"\n'
        )

    def version_command(self):
        return ["buildah", "--version"]

    def version(self):
        return super().version().split(" (")[0] + ", --isolation chroot --layers"

    def refuses(self, scenario):
        if scenario.link:
            return "this buildah has no COPY --link"
        return None

    def command(self, build):
        # It does not push what it builds; the two together are one build.
        script = 'buildah bud "$@" && buildah push --tls-verify=false ' \
                 '--compression-format "$COMPRESSION" "$TAG"'
        words = ["--isolation", "chroot", "--layers", "--tls-verify=false"]
        words += flags("--build-arg", build.arguments())
        if build.cache_to:
            words += ["--cache-to", build.cache_to]
        if build.cache_from:
            words += ["--cache-from", build.cache_from]
        return ["env", f"COMPRESSION={build.compression}", f"TAG={build.tag}",
                "sh", "-c", script, "buildah", *words, "-t", build.tag, str(build.context)]

    def environment(self):
        return {**os.environ, "CONTAINERS_STORAGE_CONF": str(self.configuration),
                "BUILDAH_ISOLATION": "chroot"}
