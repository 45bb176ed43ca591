"""Where and with what the figures were made. No names of hosts, users or folders."""

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from .peers import KINDS, OHA, ROOT, first_number

# Words of a processor's name that name it, for the results' folder.
FAMILIES = ("xeon", "epyc", "ryzen", "core", "graviton", "neoverse", "altra", "threadripper")


def describe():
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "kernel": f"{platform.system()} {re.match(r'[0-9.]+[0-9]', platform.release()).group()}",
    }


def cpu_model():
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    return found.group(1) if found else platform.machine()


def short_name(machine):
    """Such as `2-core-epyc`."""
    words = re.findall(r"[a-z]+", machine["cpu"].lower())
    family = next((word for word in FAMILIES if word in words), platform.machine().replace("_", "-"))
    return f"{machine['cores']}-core-{family}"


def versions(names, programs):
    """Of the proxies that take part, and of the tools."""
    found = {}
    for name in names:
        kind = KINDS[name]
        if kind.variant_of not in names:
            found[kind.title] = kind.version(kind.program(programs))
    tools = {
        "wrk": ("wrk", "-v"),
        "oha": (OHA, "--version"),
        "valgrind": ("valgrind", "--version"),
        "rustc": ("rustc", "--version"),
    }
    for name, (program, argument) in tools.items():
        if shutil.which(program):
            found[name] = first_number(argument)(program)
    return found


def commit():
    """What was checked out; the binary is meant to have been built from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty=, changed", "--exclude=*"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    return done.stdout.strip() or "unknown"
