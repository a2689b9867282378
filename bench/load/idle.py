#!/usr/bin/env python3
"""What a server costs that does nothing, with 1,000 functions registered."""
import os
import pathlib
import shutil
import tempfile
import time

import common

FUNCTIONS = int(os.environ.get("FUNCTIONS", "1000"))
SECONDS = int(os.environ.get("SECONDS", "30"))


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
        resident = server.resident_bytes() / 1e6
    finally:
        server.close()
        shutil.rmtree(directory)
    rows = [{"name": "resident", "unit": "MB", "ours": resident, "rounds": 1},
            {"name": "cpu of one core", "unit": "%", "ours": percent, "rounds": 1}]
    common.report("idle", rows,
                  [{"name": "resident MB", "want": "< 50", "got": round(resident, 1), "ok": resident < 50},
                   {"name": "cpu % of a core", "want": "< 0.5", "got": round(percent, 3), "ok": percent < 0.5}])


if __name__ == "__main__":
    main()
