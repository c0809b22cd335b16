"""Two network namespaces joined by a veth pair, and the programs that run in them.

Everything that was made and started goes at the end, also after an error or a signal. Nothing
leaves the namespaces: they have no way out.
"""

import atexit
import ctypes
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

NODE = "10.77.1.10"
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
NODE_MAC = "02:00:00:00:00:01"
NET_MAC = "02:00:00:00:00:02"

CLONE_NEWNET = 0x40000000
TICK = os.sysconf("SC_CLK_TCK")


def obstacle(*programs):
    """Why no link can be made here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [program for program in ("ip", "setpriv", *programs) if not shutil.which(program)]
    if missing:
        return "needs " + ", ".join(missing)
    name = f"egressbench{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode == 0
    pair = ["ip", "-n", name, "link", "add", "veth0", "type", "veth", "peer", "name", "veth1"]
    able = made and subprocess.run(pair, capture_output=True).returncode == 0
    subprocess.run(["ip", "netns", "del", name], capture_output=True)
    return None if able else "this machine has no network namespaces with veth"


class Link:
    """`node` and `net`, each with an eth0; a node that answers nobody, for want of a route."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="egress-auditor-bench-"))
        self.names = {role: f"egressbench{os.getpid()}-{role}" for role in ("node", "net")}
        self.children = []
        atexit.register(self.close)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: sys.exit(130))
        for role, name in self.names.items():
            run("ip", "netns", "add", name)
            # The kernel's own neighbour discovery would be among the frames.
            run("ip", "netns", "exec", name, "sysctl", "-qw",
                "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
            run("ip", "-n", name, "link", "set", "lo", "up")
        node, net = self.names["node"], self.names["net"]
        run("ip", "-n", node, "link", "add", "eth0", "address", NODE_MAC, "type", "veth",
            "peer", "name", "eth0", "address", NET_MAC, "netns", net)
        for role in (node, net):
            run("ip", "-n", role, "link", "set", "eth0", "mtu", "9000", "up")
        run("ip", "-n", node, "addr", "add", f"{NODE}/24", "dev", "eth0")
        self.until("the link is up", lambda: self.counter("node", "carrier") == 1)

    def close(self):
        for child in self.children:
            if child.poll() is None:
                child.kill()
                child.wait()
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, role, argv, **streams):
        """A program in a namespace; it ends when this one does, at the latest."""
        enter = ["ip", "netns", "exec", self.names[role], "setpriv", "--pdeathsig", "KILL"]
        streams = {"stdin": subprocess.DEVNULL, **streams}
        child = subprocess.Popen([*enter, *map(str, argv)], **streams)
        self.children.append(child)
        return child

    def counter(self, role, name):
        """A number of eth0's in /sys/class/net, such as statistics/rx_packets."""
        path = f"/sys/class/net/eth0/{name}"
        argv = ["ip", "netns", "exec", self.names[role], "cat", path]
        read = subprocess.run(argv, capture_output=True, text=True)
        return int(read.stdout) if read.returncode == 0 else 0

    def enter(self, role):
        """This program's sockets are in that namespace from now on."""
        with open(f"/run/netns/{self.names[role]}") as namespace:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")

    def until(self, what, condition, patience=60):
        deadline = time.monotonic() + patience
        while not condition():
            if time.monotonic() > deadline:
                raise SystemExit(f"waited in vain until {what}")
            time.sleep(0.05)


def run(*argv):
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(argv)}: {done.stderr.strip()}")


def get(path, timeout=30):
    """What the auditor serves, from this program's namespace; None when it doesn't answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:9469{path}", timeout=timeout) as answer:
            return answer.read().decode()
    except (OSError, urllib.error.URLError):
        return None


def metrics(text):
    """The values of a text in the OpenMetrics format, summed over their labels."""
    values = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            series, value = line.rsplit(" ", 1)
            name = series.split("{")[0].removeprefix("egress_auditor_")
            values[name] = values.get(name, 0) + float(value)
    return values


def memory(pid):
    """Resident bytes of a process: now, and at most so far. None when it is gone."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines)
    if "VmRSS" not in fields:
        return None
    return tuple(int(fields[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))


def cpu(pid):
    """Seconds of processor time, user and system, of a process that runs."""
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    fields = text[text.rindex(")") + 2:].split()
    return int(fields[11]) / TICK, int(fields[12]) / TICK


def size(text):
    """Bytes, or with K, M or G."""
    factor = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:].upper())
    return int(text[:-1]) * factor if factor else int(text)


def load(path):
    return json.loads(pathlib.Path(path).read_text())
