"""kiln itself."""

import os

from builders import Builder, flags


class Kiln(Builder):
    name = label = kind = "kiln"

    def __init__(self, options, work):
        super().__init__(options, work)
        self.binary = str(options.kiln.resolve())
        self.flags = options.kiln_flags.split()

    def version_command(self):
        return [self.binary, "version"]

    def command_of_nothing(self, directory):
        return [self.binary, "build", "--store", str(self.store.path / "kiln"),
                "--progress", "plain", str(directory)]

    def command(self, build):
        words = [self.binary, "build", "--store", str(self.store.path / "kiln"),
                 "--progress", "plain", "--compression", build.compression]
        words += flags("--build-arg", build.arguments())
        if build.cache_to:
            words += ["--cache-to", f"type=registry,ref={build.cache_to},mode=max"]
        if build.cache_from:
            words += ["--cache-from", f"type=registry,ref={build.cache_from}"]
        return [*words, *self.flags, "-t", build.tag, "--push", str(build.context)]

    def environment(self):
        return dict(os.environ)
