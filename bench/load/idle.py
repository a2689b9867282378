#!/usr/bin/env python3
"""What a server costs that does nothing, with 1,000 functions registered."""
import os
import pathlib
import shutil
import tempfile
import time

import common

FUNCTIONS = int(os.environ.get("FUNCTIONS", "1000"))
SECONDS = int(os.environ.get("IDLE_SECONDS", "30"))


def main():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="millrace-bench-"))
    specs = [{"name": f"f{index}", "image": "host", "script": "#!/bin/sh\ntrue\n",
              "input": [{"path": f"in/{index}"}], "output": [{"path": f"out/{index}"}]} for index in range(FUNCTIONS)]
    path = directory / "functions.json"
    path.write_text(common.json.dumps({"functions": {"millrace": specs}}))
    server = common.Server()
    try:
        server.client("apply", path)
        server.client("wait", "--idle")
        before = server.cpu_seconds()
        time.sleep(SECONDS)
        percent = (server.cpu_seconds() - before) * 100 / SECONDS
        supervisor, *others = server.processes()
        daemon = max(server.memory_bytes(pid, "Rss") for pid in others) / 1e6
        tree = sum(server.memory_bytes(pid, "Pss") for pid in (supervisor, *others)) / 1e6
    finally:
        server.close()
        shutil.rmtree(directory)
    rows = [{"name": "daemon, resident", "unit": "MB", "ours": daemon, "rounds": 1},
            {"name": "whole tree, proportional", "unit": "MB", "ours": tree, "rounds": 1},
            {"name": "cpu of one core", "unit": "%", "ours": percent, "rounds": 1}]
    common.report("idle", rows,
                  [{"name": "daemon resident MB", "want": "< 50", "got": round(daemon, 1), "ok": daemon < 50},
                   {"name": "cpu % of a core", "want": "< 0.5", "got": round(percent, 3), "ok": percent < 0.5}])


if __name__ == "__main__":
    main()
