#!/usr/bin/env python3
"""Many tiny runs by one daemon of all roles, and by a gateway with 1, 2 and 3 workers on the same machine, over one NATS
server and one PostgreSQL. More workers are no faster here, since one keeps all cores busy; the bar is that they are not
slower, for all that they compete for events, rows and cores.

A round starts its daemons, drops FILES files, and stops them when all is done; the four take turns, forwards and
backwards.
"""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import common

os.environ.setdefault("MILLRACE_NATS_SERVER", subprocess.run(
    [common.ROOT / "scripts" / "fetch_nats_server"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip())
sys.path.append(str(common.ROOT / "tests" / "e2e"))
from nats_server import NatsServer  # pylint: disable=wrong-import-position
from test_state import Postgres  # pylint: disable=wrong-import-position

FILES = int(os.environ.get("FILES", "600"))
ROUNDS = int(os.environ.get("ROUNDS", "7"))
PROGRAM = os.environ.get("MILLRACE_BIN", str(common.MILLRACE))
SCRIPT = "#!/bin/sh\nexec sha256sum \"$INPUT_FILE_PATH\" > \"$TMP_OUTPUT_DIR/$(basename \"$INPUT_FILE_PATH\")\"\n"
FUNCTION = {"name": "sum", "image": "host", "script": SCRIPT, "memory": "64Mi", "input": [{"path": "in"}],
            "output": [{"path": "out"}]}
SPEED_MIN = 0.9
WAIT_S = 60


class Node:
    """A daemon that keeps its data directory from round to round."""

    def __init__(self, directory, name, command, shared):
        self.data = directory / name
        self.log = directory / f"{name}.log"
        self.command = [PROGRAM, *command, "--data", self.data, "--node", name, "--listen", "127.0.0.1:0", *shared]
        self.process = None

    def start(self):
        (self.data / "listen").unlink(missing_ok=True)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + WAIT_S
        while not (self.data / "listen").exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(self.log.read_text())
            time.sleep(0.02)
        return self

    def stop(self):
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(WAIT_S)
        finally:
            self.process.kill()
            self.process.wait()

    @contextlib.contextmanager
    def running(self):
        """Whatever becomes of the round, the daemon is gone afterwards."""
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(self.stop)
            yield self.start()

    def cpu_seconds(self):
        """Of supervisor, launcher and daemon themselves, without the functions."""
        ticks = 0
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in [self.process.pid, *children]:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def client(self, *arguments, stdin=None):
        return subprocess.run([PROGRAM, *map(str, arguments)], env=os.environ | {"MILLRACE_DATA": str(self.data)},
                              input=stdin, check=True, stdout=subprocess.PIPE, text=True).stdout


class Machine:
    """The servers, and the daemons of every set-up."""

    def __init__(self, directory, cleanup):
        self.directory = directory
        self.buckets = directory / "buckets"
        self.buckets.mkdir()
        if os.geteuid() == 0:
            shutil.chown(self.buckets, "millrace")
        nats = NatsServer(directory)
        cleanup.callback(nats.kill)
        postgres = Postgres()
        cleanup.callback(postgres.close)
        postgres.start()
        shared = ["--broker", nats.url, "--nats-monitor", nats.monitor, "--state", postgres.url(),
                  "--bucket-directory", str(self.buckets)]
        self.alone = Node(directory, "alone", ["serve"], shared)
        self.gateway = Node(directory, "gateway", ["serve", "--roles", "gateway,producer"], shared)
        self.workers = [Node(directory, f"worker-{number}", ["worker"], shared) for number in (1, 2, 3)]
        self.round = 0

    def apply(self):
        document = json.dumps({"functions": {"millrace": [FUNCTION]}})
        with self.alone.running():
            self.alone.client("apply", "-", stdin=document)

    def measure(self, workers):
        """Seconds from the first file to the last result, and of our processes' CPU meanwhile; 0 workers: by one daemon
        that is all."""
        self.round += 1
        source = self.directory / f"round{self.round}"
        source.mkdir()
        for index in range(FILES):
            (source / f"r{self.round}-{index:05d}").write_bytes(os.urandom(4096))
        first = self.alone if workers == 0 else self.gateway
        with contextlib.ExitStack() as running:
            nodes = [running.enter_context(node.running()) for node in [first, *self.workers[:workers]]]
            cpu_before = sum(node.cpu_seconds() for node in nodes)
            begin = time.monotonic()
            subprocess.run(["cp", "-r", f"{source}/.", self.buckets / "in"], check=True)
            first.client("wait", "--idle", "--timeout", "10m")
            elapsed = time.monotonic() - begin
            cpu = sum(node.cpu_seconds() for node in nodes) - cpu_before
        made = len(list((self.buckets / "out").glob(f"r{self.round}-*")))
        if made != FILES:
            raise SystemExit(f"{made} outputs instead of {FILES}, with {workers} workers")
        return elapsed, cpu


def main():
    rows, bars = [], []
    with contextlib.ExitStack() as cleanup:
        directory = pathlib.Path(tempfile.mkdtemp(prefix="millrace-bench-", dir="/var/tmp"))
        cleanup.callback(shutil.rmtree, directory, ignore_errors=True)
        directory.chmod(0o755)
        machine = Machine(directory, cleanup)
        machine.apply()
        times = {workers: [] for workers in (0, 1, 2, 3)}
        cpu_ms = {workers: [] for workers in times}
        for number in range(ROUNDS + 1):
            for workers in sorted(times, reverse=number % 2 == 1):
                seconds, cpu = machine.measure(workers)
                if number > 0:  # the first is for warming up
                    times[workers].append(seconds)
                    cpu_ms[workers].append(cpu * 1e3 / FILES)
        rows.append({"name": "one daemon", "unit": "s", "ours": statistics.median(times[0]),
                     "cpu_ms_per_event": statistics.median(cpu_ms[0])})
        for workers in (1, 2, 3):
            pairs = list(zip(times[workers], times[0]))
            rows.append(common.row(f"{FILES} runs, {workers} workers", "s", pairs, "one daemon", statistics.median(cpu_ms[workers])))
            speed = 1 / rows[-1]["ratio"]
            bars.append({"name": f"{workers} workers: speed of one daemon", "want": f">= {SPEED_MIN}",
                         "got": round(speed, 3), "ok": speed >= SPEED_MIN})
    common.report("replicas", rows, bars)


if __name__ == "__main__":
    main()
