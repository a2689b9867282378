#!/usr/bin/env python3
"""The embedded log beside a bare append loop, SQLite and LMDB; its recovery beside reading its files; its tail; idle topics."""
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


def compare(rounds, window, other):
    run = f"{window} {MESSAGES[window]}"
    return common.alternate(lambda: rounds.seconds("run millrace " + run), lambda: rounds.seconds(f"run {other} " + run),
                            ROUNDS)


def main():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="millrace-bench-", dir=os.environ.get("MILLRACE_BENCH_DIR")))
    rows, bars = [], []

    def add(name, pairs, baseline, bar, reached):
        rows.append(common.row(name, "s", pairs, baseline, None))
        times = 1 / rows[-1]["ratio"]
        bars.append({"name": name + " over " + baseline, "want": bar, "got": round(times, 3), "ok": reached(times)})

    rounds = Rounds(directory)
    try:
        for window in MESSAGES:
            add(f"window {window}", compare(rounds, window, "raw"), "bare append loop", ">= 0.90 x its speed",
                lambda times: times >= 0.9)
        add("window 256", compare(rounds, 256, "sqlite"), "SQLite", ">= 8 x its speed", lambda times: times >= 8)
        add("window 256", compare(rounds, 256, "lmdb"), "LMDB", ">= 2 x its speed", lambda times: times >= 2)

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
