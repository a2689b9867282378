#!/usr/bin/env python3
"""The broker on NATS beside a program on the bare client library, at the same server in the same run.

Each pair of rounds gets a server with an empty store, which syncs before it confirms, as we ask for; SYNC=no shows one
that does not, where the client's own cost weighs more. Both programs use ids that the server dedupes by, have as many
messages on their way, and wait for every confirmation, acks included; "acks not awaited" is the bare program without
that. `begin`, the durable record of an attempt, has a row of its own beside the bare conditional write of such a record,
each with the taking and the ack of its message.

The loop's lag and idle topics are about our own process: their server does not sync, or it could not give 20,000
messages a second.
"""
import os
import pathlib
import select
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request

import common

ROUNDS = int(os.environ.get("ROUNDS", "7"))
SYNC = os.environ.get("SYNC", "yes") == "yes"
IDLE_TOPICS = int(os.environ.get("IDLE_TOPICS", "10000"))
IDLE_SECONDS = int(os.environ.get("IDLE_SECONDS", "20"))
LAG_RATE = 20_000
ANSWER_TIMEOUT_S = 600  # a hang guard
LAG_SECONDS = int(os.environ.get("LAG_SECONDS", "5"))
PROGRAM = pathlib.Path(os.environ.get("NATS_ROUNDS", common.ROOT / "build" / "release" / "bench" / "nats_rounds"))
TIMES = 1 if SYNC else 8  # messages a round, in multiples of what a syncing server takes in about a second


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A nats-server on a fresh store."""

    def __init__(self, sync):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="millrace-bench-", dir=os.environ.get("MILLRACE_BENCH_DIR")))
        port, monitor = free_port(), free_port()
        config = self.directory / "nats.conf"
        config.write_text(f'listen: "127.0.0.1:{port}"\nhttp: "127.0.0.1:{monitor}"\nmax_payload: 2MB\n'
                          f'jetstream {{ store_dir: "{self.directory}/store", max_file_store: 20GB\n'
                          f'{"sync_interval: always" if sync else ""} }}\n')
        program = subprocess.run([common.ROOT / "scripts" / "fetch_nats_server"], check=True, stdout=subprocess.PIPE,
                                 text=True).stdout.strip()
        self.process = subprocess.Popen([program, "-c", config], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        self.url, self.monitor = f"nats://127.0.0.1:{port}", f"http://127.0.0.1:{monitor}"
        deadline = time.monotonic() + 30
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the nats-server does not start")
            time.sleep(0.02)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def ready(self):
        try:
            with urllib.request.urlopen(self.monitor + "/healthz", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def close(self):
        self.process.kill()  # with thousands of streams its orderly end takes minutes, and its store goes anyway
        self.process.wait(60)
        shutil.rmtree(self.directory, ignore_errors=True)


class Rounds:
    """bench/nats/main.cc, which keeps its connections open between the rounds."""

    def __init__(self, url):
        self.process = subprocess.Popen([PROGRAM, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def __call__(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], ANSWER_TIMEOUT_S)[0]:
            self.process.kill()
            raise SystemExit(f"nats_rounds does not answer: {command}")
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"nats_rounds ended at: {command}")
        return [float(each) for each in answer.split()]


def pair(ours_first, baseline, what, window, messages):
    """Microseconds a message of ours and of the baseline, each warmed up, at a server of their own."""
    kinds = ["millrace", baseline] if ours_first else [baseline, "millrace"]
    with Server(SYNC) as server, Rounds(server.url) as rounds:
        for kind in kinds:
            rounds(f"run {kind} {what} {window} {max(messages // 10, window)}")
        taken = {kind: rounds(f"run {kind} {what} {window} {messages}")[0] * 1e6 / messages for kind in kinds}
    return taken["millrace"], taken[baseline]


def main():
    rows, bars = [], []

    def add(name, what, window, messages, baseline="raw", speed_min=None):
        # A B B A, and the first pair is a warm-up of the machine.
        pairs = [pair(index % 2 == 0, baseline, what, window, messages) for index in range(ROUNDS + 1)][1:]
        label = "bare cnats" if baseline == "raw" else "bare cnats, acks not awaited"
        rows.append(common.row(name, "us", pairs, label, None))
        if speed_min is not None:
            speed = 1 / rows[-1]["ratio"]
            bars.append({"name": f"{name}: speed of bare cnats", "want": f">= {speed_min}", "got": round(speed, 3),
                         "ok": speed >= speed_min})

    add("publish, 256 at once", "publish", 256, 2_000 * TIMES, speed_min=0.9)
    add("publish, one by one", "publish", 1, 600 * TIMES, speed_min=0.9)
    add("consume + ack", "consume", 256, 2_000 * TIMES, speed_min=0.9)
    add("consume + ack", "consume", 256, 2_000 * TIMES, baseline="unconfirmed")
    add("publish and consume at once", "both", 256, 2_000 * TIMES, speed_min=0.9)
    add("take, begin, ack, one by one", "begin", 1, 300 * TIMES)

    with Server(sync=False) as server, Rounds(server.url) as rounds:
        p99, reached = rounds(f"lag {LAG_RATE} {LAG_SECONDS}")
        rows.append({"name": f"loop lag at {reached:.0f}/s, p99", "unit": "ms", "ours": p99})
        bars.append({"name": f"ms of loop lag draining {LAG_RATE}/s", "want": f"< 5 at >= {LAG_RATE * 0.95:.0f}/s",
                     "got": f"{p99:.2f} at {reached:.0f}/s", "ok": p99 < 5 and reached >= LAG_RATE * 0.95})
        if IDLE_TOPICS > 0:
            percent = rounds(f"idle {IDLE_TOPICS} {IDLE_SECONDS}")[0]
            rows.append({"name": f"{IDLE_TOPICS} idle topics", "unit": "%", "ours": percent})
            bars.append({"name": f"% of a core for {IDLE_TOPICS} idle topics", "want": "< 2", "got": round(percent, 2),
                         "ok": percent < 2})
    common.report("nats" if SYNC else "nats-nosync", rows, bars)


if __name__ == "__main__":
    main()
