"""Runs one command for `measure`: launch.py GROUP COMMAND...

A process of its own, and a small one: what a command's memory was at most, as
the kernel tells it, begins with the memory of whoever started it. Joins the
control group (none when GROUP is empty) in the child, so that nothing of this
is counted. Writes one line of JSON to descriptor 3."""

import os
import sys
import time


def main():
    group, command = sys.argv[1], sys.argv[2:]
    os.set_inheritable(3, False)
    begin = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            if group:
                with open(f"{group}/cgroup.procs", "w") as file:
                    file.write("0")
            os.execvp(command[0], command)
        except OSError as error:
            sys.stderr.write(f"{command[0]}: {error}\n")
        os._exit(127)
    _, status, usage = os.wait4(child, 0)
    wall = time.monotonic() - begin
    code = os.waitstatus_to_exitcode(status)
    line = '{"code": %d, "wall": %f, "cpu": %f, "rss": %d}\n' % (
        code, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
    os.write(3, line.encode())


main()
