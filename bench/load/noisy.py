#!/usr/bin/env python3
"""What a flood for one function does to the latency of another one: alone and beside the flood in turn."""
import json
import os
import pathlib
import shutil
import statistics
import tempfile
import time
import urllib.request

import common

FLOOD = int(os.environ.get("FLOOD", "100000"))
SECONDS = int(os.environ.get("NOISY_SECONDS", "30"))
ROUNDS = int(os.environ.get("NOISY_ROUNDS", "3"))
PER_SECOND = 10


def definition(directory):
    script = {"image": "host", "script": "#!/bin/sh\nexec sha256sum /etc/hostname\n", "memory": "32Mi", "cpu": "500m"}
    path = directory / "functions.json"
    path.write_text(json.dumps({"functions": {"millrace": [dict(script, name="flooded", topics=["flood"]),
                                                           dict(script, name="small")]}}))
    return path


class Api:
    def __init__(self, server):
        self.url = server.environment["MILLRACE_URL"]
        self.headers = {"Authorization": "Bearer " + server.environment["MILLRACE_TOKEN"]}

    def post(self, path, body=b""):
        request = urllib.request.Request(self.url + path, data=body, headers=self.headers, method="POST")
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)


def waiting(server):
    topic, = [topic for topic in json.loads(server.client("topics", "-o", "json"))["topics"] if topic["name"] == "flood"]
    return topic["pending"]


def small_latencies_ms(server):
    """From the publish to the first instruction, of calls at a steady pace."""
    api = Api(server)
    end = time.monotonic() + SECONDS
    posted = set()
    while time.monotonic() < end:
        posted.add(api.post("/api/v1/functions/small/invoke?async=true")["run_id"])
        time.sleep(1 / PER_SECOND)
    deadline = time.monotonic() + 120
    while len(ended := [run for run in runs(server, "small") if run["run_id"] in posted]) < len(posted):
        if time.monotonic() > deadline:
            raise SystemExit(f"{len(posted) - len(ended)} of {len(posted)} calls have not ended")
        time.sleep(0.5)
    return sorted((run["usage"]["queued_us"] + run["usage"]["start_us"]) / 1000 for run in ended)


def runs(server, function):
    return json.loads(server.client("runs", "-f", function, "--outcome", "succeeded", "--limit", "1000", "-o", "json"))["runs"]


def p99(values):
    return values[len(values) * 99 // 100]


def one_round(server, events):
    alone = small_latencies_ms(server)
    server.client("publish", "flood", "--lines", events)
    begun = waiting(server)
    beside = small_latencies_ms(server)
    left = waiting(server)
    if left == 0:
        raise SystemExit("the flood was over before the measurement was: raise FLOOD")
    server.client("purge", "flood", "--yes")
    took = statistics.median(run["usage"]["wall_us"] / 1000 for run in runs(server, "flooded"))
    print(f"alone p99 {p99(alone):.1f} ms, beside {p99(beside):.1f} ms, median run {took:.1f} ms; waiting {begun} to {left}",
          flush=True)
    return alone, beside, took


def main():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="millrace-bench-"))
    events = directory / "events"
    events.write_text("".join(f'{{"n": {number}}}\n' for number in range(FLOOD)))
    server = common.Server()
    try:
        server.client("apply", definition(directory))
        rounds = [one_round(server, events) for _ in range(ROUNDS)]
    finally:
        server.close()
        shutil.rmtree(directory)
    alone, beside, took = (statistics.median(values) for values in zip(*((p99(a), p99(b), t) for a, b, t in rounds)))
    ratios = sorted(p99(b) / (p99(a) + 2 * t) for a, b, t in rounds)
    allowed = alone + 2 * took
    rows = [{"name": "small, alone: p99", "unit": "ms", "ours": alone},
            {"name": "small, beside a flood: p99", "unit": "ms", "ours": beside, "baseline": allowed,
             "baseline_name": "alone + 2 median runs of the flooded one", "ratio": statistics.median(ratios),
             "spread": [ratios[0], ratios[-1]], "rounds": ROUNDS},
            {"name": "flooded, median run", "unit": "ms", "ours": took}]
    common.report("noisy", rows, [{"name": f"p99 beside a flood of {FLOOD} over alone + 2 runs", "want": "<= 1",
                                   "got": round(statistics.median(ratios), 2), "ok": statistics.median(ratios) <= 1}])


if __name__ == "__main__":
    main()
