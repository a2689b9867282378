#!/usr/bin/env python3
"""Many tiny files through two stages of sha256sum, beside xargs starting the same script."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import common

FILES = int(os.environ.get("FILES", "2000"))
ROUNDS = int(os.environ.get("ROUNDS", "5"))
SCRIPT = "#!/bin/sh\nexec sha256sum \"$INPUT_FILE_PATH\" > \"$TMP_OUTPUT_DIR/$(basename \"$INPUT_FILE_PATH\")\"\n"


def definition(directory):
    # With the cpu that a function has which does not say how much it needs: a fifth of a core.
    stages = []
    for name, source, target in (("first", "in", "middle"), ("second", "middle", "out")):
        stages.append({"name": name, "image": "host", "script": SCRIPT, "memory": "64Mi",
                       "input": [{"path": source}], "output": [{"path": target}]})
    path = directory / "functions.json"
    path.write_text(common.json.dumps({"functions": {"millrace": stages}}))
    return path


def make_files(directory, prefix):
    directory.mkdir(parents=True, exist_ok=True)
    for index in range(FILES):
        (directory / f"{prefix}-{index:05d}").write_bytes(os.urandom(4096))


def ours(server, directory, counter):
    counter[0] += 1
    source = directory / f"round{counter[0]}"
    make_files(source, f"r{counter[0]}")
    start = time.monotonic()
    subprocess.run(["cp", "-r", f"{source}/.", server.data / "buckets" / "in"], check=True)
    server.client("wait", "--idle", "--timeout", "30m")
    elapsed = time.monotonic() - start
    made = len(list((server.data / "buckets" / "out").glob(f"r{counter[0]}-*")))
    if made != FILES:
        raise SystemExit(f"{made} outputs instead of {FILES}")
    return elapsed


def baseline(directory):
    # In the locale that our functions have: programs of the distribution load its files.
    work = pathlib.Path(tempfile.mkdtemp(prefix="millrace-bench-", dir=directory))
    make_files(work / "in", "b")
    script = work / "script.sh"
    script.write_text(SCRIPT.replace("$INPUT_FILE_PATH", "$1"))
    start = time.monotonic()
    for source, target in (("in", "middle"), ("middle", "out")):
        (work / target).mkdir()
        names = "\0".join(str(path) for path in (work / source).iterdir())
        subprocess.run(["xargs", "-0", "-n", "1", "-P", str(os.cpu_count()), "sh", script], input=names, text=True,
                       check=True, env=dict(os.environ, LC_CTYPE="C.UTF-8", TMP_OUTPUT_DIR=str(work / target)))
    return time.monotonic() - start  # its files go at the end: deleting slows down whoever makes files next


def main():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="millrace-bench-"))
    server = common.Server()
    try:
        server.client("apply", definition(directory))
        counter = [0]
        cpu_before = server.cpu_seconds()
        pairs = common.alternate(lambda: ours(server, directory, counter), lambda: baseline(directory), ROUNDS)
        cpu = (server.cpu_seconds() - cpu_before) * 1000 / ((ROUNDS + 1) * FILES * 2)
    finally:
        server.close()
        shutil.rmtree(directory)
    result = common.row(f"{FILES} files, two stages", "s", pairs, f"xargs -n 1 -P {os.cpu_count()}", cpu)
    common.report("chain-small", [result],
                  [{"name": "makespan over xargs", "want": "<= 2", "got": round(result["ratio"], 3),
                    "ok": result["ratio"] <= 2}])


if __name__ == "__main__":
    main()
