"""A file system of its own for a builder's state, so that its disk can be
counted and nobody else's deletions slow it down."""

import os
import shutil
import subprocess

# A journaled ext4: without a journal, making files is several times slower
# for minutes after many were deleted.
BYTES = 32 * 10**9
# One million files and a builder's second copy of their directories fit.
BYTES_PER_INODE = 12_288


class Store:
    """`path` is empty after `clear`. With `plain` it is an ordinary directory:
    for tests and ordinary users, who cannot mount; its disk is not counted."""

    def __init__(self, path, plain=False):
        self.path, self.file, self.plain = path, path.with_suffix(".ext4"), plain

    def clear(self):
        self.close()
        self.path.mkdir(exist_ok=True, parents=True)
        if self.plain:
            return
        with open(self.file, "wb") as file:
            file.truncate(BYTES)
        # Tables are written now and not by the kernel during a measurement.
        options = "lazy_itable_init=0,lazy_journal_init=0"
        subprocess.run(["mkfs.ext4", "-q", "-i", str(BYTES_PER_INODE), "-E", options, self.file],
                       check=True)
        subprocess.run(["mount", "-o", "loop", self.file, self.path], check=True)

    def close(self):
        if self.plain:
            shutil.rmtree(self.path, ignore_errors=True)
            return
        # Builders leave mounts inside; the newest is on top.
        while inside := self.mounts():
            subprocess.run(["umount", inside[-1]], check=True)
        self.file.unlink(missing_ok=True)

    def mounts(self):
        lines = [line.split()[4] for line in open("/proc/self/mountinfo")]
        return [mount for mount in lines if f"{mount}/".startswith(f"{self.path}/")]

    def used(self):
        """Allocated bytes, journal and tables included."""
        if self.plain:
            return 0
        status = os.statvfs(self.path)
        return (status.f_blocks - status.f_bfree) * status.f_frsize
