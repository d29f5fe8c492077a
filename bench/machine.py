"""What the numbers were made on."""

import os
import platform
import shutil


def describe():
    """A few plain facts, in order, for the page and for results.json."""
    processors = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo")
                  if line.startswith(("model name", "CPU part"))]
    flags = " ".join(line for line in open("/proc/cpuinfo") if line.startswith(("flags", "Features")))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": f"{len(os.sched_getaffinity(0))} cores of {(processors or ['unknown'])[0]}",
        "sha": "yes" if any(flag in flags.split() for flag in ("sha_ni", "sha2")) else "no",
        "memory": f"{memory / 2**30:.0f} GiB",
        "kernel": f"Linux {platform.release()}",
        "system": system(),
        "user": "root" if os.geteuid() == 0 else "an ordinary user",
        # containers/storage and containerd inflate through it when it is there.
        "unpigz": "installed" if shutil.which("unpigz") else "not installed",
        "load": "%.1f when it began" % os.getloadavg()[0],
    }


def system():
    try:
        facts = dict(line.rstrip().split("=", 1) for line in open("/etc/os-release") if "=" in line)
    except OSError:
        return "unknown"
    return facts.get("PRETTY_NAME", "unknown").strip('"')
