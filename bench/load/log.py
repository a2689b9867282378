#!/usr/bin/env python3
"""The embedded log beside a bare append loop, SQLite and LMDB; its recovery beside reading its files; its tail; idle topics.

256 callers that each want their message safe share the syncs of the log and of the append loop, which do that for them.
SQLite and LMDB leave it to the program: the bars are about a commit for each message, what such callers get as it is.
The rows "256 a commit" show a program that collects messages for 256 and commits them at once; they have no bar.
"""
import os
import pathlib
import shutil
import subprocess
import tempfile

import common

ROUNDS = int(os.environ.get("ROUNDS", "5"))
TAIL_SECONDS = int(os.environ.get("TAIL_SECONDS", "60"))
IDLE_SECONDS = int(os.environ.get("IDLE_SECONDS", "10"))
IDLE_TOPICS = 10_000
MESSAGES = {1: 1_500, 16: 16_000, 256: 50_000}  # about as long for each window
ALONE = 1_000  # a commit for each
FILLED = 430_000  # messages of 1 KiB: half a gigabyte of log


class Rounds:
    """bench/log/main.cc, which keeps its queues open between the rounds."""

    def __init__(self, directory):
        program = common.ROOT / "build" / "release" / "bench" / "log_rounds"
        self.process = subprocess.Popen([program, directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"log_rounds ended at: {command}")
        return answer.split()

    def seconds(self, command):
        return float(self(command)[0])

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)


def compare(rounds, window, other, their_window, their_messages):
    """Microseconds a message of each."""
    def per_message(kind, in_flight, messages):
        return rounds.seconds(f"run {kind} {in_flight} {messages}") * 1e6 / messages

    return common.alternate(lambda: per_message("millrace", window, MESSAGES[window]),
                            lambda: per_message(other, their_window, their_messages), ROUNDS)


def main():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="millrace-bench-", dir=os.environ.get("MILLRACE_BENCH_DIR")))
    rows, bars = [], []

    def add(window, other, baseline, their_window, their_messages, times_min=None):
        pairs = compare(rounds, window, other, their_window, their_messages)
        rows.append(common.row(f"window {window}", "us", pairs, baseline, None))
        times = 1 / rows[-1]["ratio"]
        if times_min is not None:
            bars.append({"name": f"window {window} over {baseline}", "want": f">= {times_min} x its speed",
                         "got": round(times, 3), "ok": times >= times_min})

    rounds = Rounds(directory)
    try:
        for window in MESSAGES:
            add(window, "raw", "bare append loop", window, MESSAGES[window], 0.9)
        for other, name, times_min in ("sqlite", "SQLite", 8), ("lmdb", "LMDB", 2):
            add(256, other, name + ", a commit each", 1, ALONE, times_min)
            add(256, other, name + ", 256 a commit", 256, MESSAGES[256])

        p50, p99 = map(float, rounds(f"tail 256 {TAIL_SECONDS}"))
        rows.append({"name": f"tail, window 256, {TAIL_SECONDS} s", "unit": "us", "ours": p99, "p50": p50, "p99": p99})
        bars.append({"name": "p99 over p50", "want": "< 3", "got": round(p99 / p50, 2), "ok": p99 < 3 * p50})

        rounds(f"fill {FILLED}")
        pairs = common.alternate(lambda: rounds.seconds(f"recover {FILLED}"), lambda: rounds.seconds("checksum"), ROUNDS)
        rows.append(common.row("recovery of 0.5 GB", "s", pairs, "one CRC pass", None))
        ratio = rows[-1]["ratio"]
        bars.append({"name": "recovery over a CRC pass", "want": "<= 4", "got": round(ratio, 2), "ok": ratio <= 4})

        percent = rounds.seconds(f"idle {IDLE_TOPICS} {IDLE_SECONDS}")
        rows.append({"name": f"{IDLE_TOPICS} idle topics", "unit": "%", "ours": percent})
        bars.append({"name": "% of a core", "want": "< 2", "got": round(percent, 2), "ok": percent < 2})
    finally:
        rounds.close()
        shutil.rmtree(directory)
    common.report("log", rows, bars)


if __name__ == "__main__":
    main()
