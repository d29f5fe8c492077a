"""What one command costs: CPU, wall, memory, disk, bytes and requests."""

import json
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

SAMPLE_SECONDS = 0.02
LAUNCH = Path(__file__).resolve().parent / "launch.py"
FIELDS = ("cpu", "wall", "rss", "disk", "kept", "down", "up", "requests")


class ControlGroup:
    """A cpuacct or version 2 control group, where one can be made: it counts
    processes that outlive their parents too. Without one, what wait4 says
    about the child and everything it waited for."""

    made = 0

    def __init__(self):
        self.path = None
        ControlGroup.made += 1
        name = f"kiln-bench-{os.getpid()}-{ControlGroup.made}"
        for parent, usage in (
            ("/sys/fs/cgroup/cpuacct", "cpuacct.usage"),
            ("/sys/fs/cgroup", "cpu.stat"),
        ):
            path = Path(parent, name)
            if not Path(parent, usage).exists():
                continue
            try:
                path.mkdir()
            except OSError:
                continue
            self.path, self.usage = path, path / usage
            return

    def enter(self):
        if self.path:
            (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def seconds(self):
        """User and system time of all that ever ran in it; None without a group."""
        if not self.path:
            return None
        text = self.usage.read_text()
        if self.usage.name == "cpuacct.usage":
            return int(text) / 1e9
        return int(text.split()[1]) / 1e6

    def processes(self):
        """Those that are in it now, and in groups that its members made."""
        found = []
        for directory, _, _ in os.walk(self.path):
            try:
                with open(f"{directory}/cgroup.procs") as file:
                    found += map(int, file.read().split())
            except OSError:
                continue  # It was removed in between.
        return found

    def close(self):
        """Removes the group, and those of its name that a container runtime made
        in the other hierarchies of version 1."""
        if not self.path:
            return
        for group in {self.path, *Path("/sys/fs/cgroup").glob(f"*/{self.path.name}")}:
            for directory, _, _ in os.walk(group, topdown=False):
                try:
                    os.rmdir(directory)
                except OSError:
                    pass  # Something still runs in it.


def resident_bytes(processes):
    """Resident bytes, shared pages once for each process: the same rule for
    every builder."""
    total = 0
    for process in processes:
        try:
            with open(f"/proc/{process}/statm") as file:
                total += int(file.read().split()[1])
        except (OSError, IndexError):
            continue  # It ended in between.
    return total * resource.getpagesize()


def descendants(process):
    """A process and all below it: for machines on which no group can be made."""
    found, todo = [], [process]
    while todo:
        process = todo.pop()
        found.append(process)
        try:
            for task in os.listdir(f"/proc/{process}/task"):
                with open(f"/proc/{process}/task/{task}/children") as file:
                    todo += map(int, file.read().split())
        except (OSError, ValueError):
            continue
    return found


class Failed(Exception):
    """A command that was to be measured ended with an error."""


def measure(command, environment, store, proxy, log, group=None):
    """Runs a command. `group` is the control group of a daemon that works for
    it: what happens in there is the command's cost too."""
    own = group is None
    group = group or ControlGroup()
    with open(log, "ab") as output:
        output.write(("$ " + " ".join(map(str, command)) + "\n").encode())
    disk_before = store.used()
    proxy.reset()
    begin_cpu = group.seconds()
    told, peak, disk = launch(command, environment, store, log, group)
    end_cpu = group.seconds()
    if own:
        group.close()
    if told["code"] != 0:
        # What it said, not what others said before it.
        said = Path(log).read_text(errors="replace").rpartition("\n$ ")[2].splitlines()
        raise Failed("\n".join(said[:1] + said[1:][-20:]) + f"\nexit code {told['code']}: see {log}")
    after = store.used()
    return {
        "cpu": told["cpu"] if end_cpu is None else end_cpu - begin_cpu,
        "wall": told["wall"],
        # The kernel's figure is of the largest single process, and misses nothing.
        "rss": max(peak, told["rss"]),
        "disk": max(disk, after) - disk_before,
        "kept": after - disk_before,
        "down": proxy.down,
        "up": proxy.up,
        "requests": proxy.requests,
    }


def launch(command, environment, store, log, group):
    """What launch.py tells, and the sampled peaks of memory and disk."""
    reader, writer = os.pipe()
    with open(log, "ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-S", "-E", LAUNCH, group.path or "", *command],
            stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=environment,
            preexec_fn=lambda: os.dup2(writer, 3), pass_fds=(3,),
        )
    os.close(writer)
    peak, disk, done = 0, 0, threading.Event()

    def sample():
        nonlocal peak, disk
        while True:
            members = group.processes() if group.path else descendants(child.pid)[1:]
            peak = max(peak, resident_bytes(members))
            disk = max(disk, store.used())
            if done.wait(SAMPLE_SECONDS):
                return

    sampler = threading.Thread(target=sample)
    sampler.start()
    with open(reader) as pipe:
        told = json.loads(pipe.readline() or '{"code": 127}')
    done.set()
    sampler.join()
    child.wait()
    return told, peak, disk
