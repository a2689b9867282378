#!/usr/bin/env python3
"""From a client's publish to the function's first instruction, beside the least that must happen: two durable appends of
a bare log loop (the event, and that its run begins) and one start of a bare container, by the launcher alone. With
BROKER=nats the events go through a nats-server that syncs, and the two are a publish and a conditional record there, each
confirmed, by the bare client library.

The function (bench/event/stamp.cc) prints CLOCK_MONOTONIC, which is one for all processes of a machine. Events come one
after the other, each when the one before is done. Needs root.
"""
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

import common
import nats

ROUNDS = int(os.environ.get("ROUNDS", "9"))
EVENTS = int(os.environ.get("EVENTS", "50"))
BUILT = common.ROOT / "build" / "release" / "bench"
NATS = os.environ.get("BROKER", "log") == "nats"
BAR = 1.3


class Rounds:
    """A program that answers a line with a line."""

    def __init__(self, *command, **environment):
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=os.environ | environment)

    def __call__(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        if not answer:
            raise SystemExit(f"{self.process.args[0]} ended at: {command}")
        return [float(word) for word in answer]

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)


class Publisher:
    """One connection that stays, without a library whose work would be counted."""

    def __init__(self, server):
        host, port = server.environment["MILLRACE_URL"].removeprefix("http://").rsplit(":", 1)
        self.head = f"Host: {host}\r\nAuthorization: Bearer {server.environment['MILLRACE_TOKEN']}\r\n"
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.left = b""

    def request(self, method, path):
        """When it was sent, and the body of the answer."""
        request = f"{method} {path} HTTP/1.1\r\n{self.head}Content-Length: 0\r\n\r\n".encode()
        sent_ns = time.monotonic_ns()
        self.socket.sendall(request)
        head, self.left = self.read_until(b"\r\n\r\n")
        status, *fields = head.decode().split("\r\n")
        length = next(int(field.split(":")[1]) for field in fields if field.lower().startswith("content-length:"))
        while len(self.left) < length:
            self.left += self.receive()
        body, self.left = self.left[:length], self.left[length:]
        if status.split()[1][0] != "2":
            raise SystemExit(f"{path}: {status} {body.decode()}")
        return sent_ns, body

    def read_until(self, end):
        while end not in self.left:
            self.left += self.receive()
        return self.left.split(end, 1)

    def receive(self):
        bytes_read = self.socket.recv(65536)
        if not bytes_read:
            raise SystemExit("the server has closed the connection")
        return bytes_read

    def event(self):
        """Seconds from the publish to the function's first instruction."""
        sent_ns, answer = self.request("POST", "/api/v1/functions/stamp/invoke?async=true")
        run = "/api/v1/runs/" + json.loads(answer)["run_id"]
        deadline = time.monotonic() + 60
        time.sleep(0.005)  # asking would take the processor from what is measured
        while "outcome" not in (record := json.loads(self.request("GET", run)[1])):
            if time.monotonic() > deadline:
                raise SystemExit(f"the run is not over: {record}")
            time.sleep(0.005)
        if record["outcome"] != "succeeded":
            raise SystemExit(f"the function has failed: {record}")
        return (int(self.request("GET", run + "/log")[1]) - sent_ns) / 1e9


def main():
    if os.geteuid() != 0:
        raise SystemExit("containers are started by root")
    # A place that containers see.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-bench-", dir="/opt"))
    folder.chmod(0o755)
    program = pathlib.Path(shutil.copy(BUILT / "event_stamp", folder / "stamp"))
    program.chmod(0o755)
    broker = nats.Server(sync=True) if NATS else None
    server = common.Server(*(["--broker", broker.url, "--nats-monitor", broker.monitor] if broker else []))
    least = Rounds(nats.PROGRAM, broker.url) if broker else Rounds(BUILT / "log_rounds", server.directory)
    name = "a publish and a record" if broker else "two appends"
    starts = Rounds(BUILT / "event_rounds", program, MILLRACE_LAUNCHER=str(BUILT.parent / "bin" / "millrace-launcher"))
    appends, bare, bars = [], [], []
    try:
        spec = folder / "stamp.json"
        spec.write_text(json.dumps({"functions": {"millrace": [{"name": "stamp", "script": f"#!{program}\n"}]}}))
        server.client("apply", spec)
        publisher = Publisher(server)

        def ours():
            return statistics.median(publisher.event() for _ in range(EVENTS))

        def baseline():
            if broker:
                seconds = least(f"run raw publish 1 {EVENTS}")[0] + least(f"records {EVENTS}")[0]
            else:  # a message of the bare loop is two appends, the second for its ack, one after the other
                seconds = least(f"run raw 1 {EVENTS}")[0]
            appends.append(seconds / EVENTS)
            bare.append(statistics.median(starts(f"start {EVENTS}")))
            return appends[-1] + bare[-1]

        rows = [common.row("publish to first instruction", "ms",
                           [(a * 1e3, b * 1e3) for a, b in common.alternate(ours, baseline, ROUNDS)],
                           f"{name}, and a start", None)]
        for part, values in ((f"of that: {name}", appends), ("of that: a bare start", bare)):
            rows.append({"name": part, "unit": "ms", "ours": statistics.median(values[1:]) * 1e3})
        ratio = rows[0]["ratio"]
        bars.append({"name": "publish to first instruction", "want": f"<= {BAR}", "got": round(ratio, 3),
                     "ok": ratio <= BAR})
    finally:
        least.close()
        starts.close()
        server.close()
        if broker:
            broker.close()
        shutil.rmtree(folder)
    common.report("event-nats" if broker else "event", rows, bars)


if __name__ == "__main__":
    main()
