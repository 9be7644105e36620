"""A network that has nothing but loopback, and counts what would have left it."""

import shutil
import subprocess
import sys
from collections.abc import Sequence

import pytest

INSIDE = """
import fcntl, socket, struct, subprocess, sys

IFF_UP, SIOCSIFFLAGS = 1, 0x8914
fcntl.ioctl(socket.socket(), SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
code = subprocess.call(sys.argv[1:])
names, values = (line.split() for line in open("/proc/net/snmp") if line.startswith("Ip:"))
attempts = int(values[names.index("OutNoRoutes")])
attempts += sum(int(line.split()[1]) for line in open("/proc/net/snmp6") if line.startswith("Ip6OutNoRoutes"))
print("attempts to leave loopback:", attempts, flush=True)
sys.exit(code)
"""
NONE = "attempts to leave loopback: 0"


def offline(command: Sequence[str]) -> list[str]:
    """Return a command that runs another where no route leads out, and says how often one was asked
    for.

    Skips the test where no such place can be made.
    """
    program = shutil.which("unshare")
    if program is None or subprocess.run([program, "-rn", "true"], capture_output=True).returncode:
        pytest.skip("no network namespace can be made here (unshare -rn)")
    return [program, "-rn", sys.executable, "-c", INSIDE, *command]
