"""A daemon that works for a builder: started for a run, counted with it,
ended by its process id."""

import ctypes
import os
import signal
import subprocess
import time

from measure import ControlGroup

START_SECONDS_MAX = 60


class Daemon:
    """Runs `command` in a control group of its own, until `ready()`."""

    def __init__(self, command, environment, log, ready):
        self.group = ControlGroup()
        self.log = log
        with open(log, "ab") as output:
            self.child = subprocess.Popen(
                command(self.group), stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                env=environment, preexec_fn=self.enter,
            )
        until = time.monotonic() + START_SECONDS_MAX
        while not ready():
            if self.child.poll() is not None or time.monotonic() > until:
                self.close()
                raise SystemExit(f"the daemon did not start: see {log}")
            time.sleep(0.1)

    def enter(self):
        os.setsid()
        # It goes when we are killed: prctl(2), PR_SET_PDEATHSIG.
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
        self.group.enter()

    def close(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(30)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        # What it started and did not end: only what is in our own group.
        for _ in range(50):
            left = self.group.processes() if self.group.path else []
            if not left:
                break
            for process in left:
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.1)
        self.group.close()
