#!/usr/bin/env python3
"""The demo's makespan at N frames beside the same commands under xargs, without any isolation."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import common

FRAMES = int(os.environ.get("FRAMES", "100"))
ROUNDS = int(os.environ.get("ROUNDS", "5"))
PEOPLE = common.ROOT / "config" / "examples" / "people"


def definition(directory):
    text = (PEOPLE / "functions.yaml").read_text().replace("FRAMES: 20", f"FRAMES: {FRAMES}")
    text = text.replace("script: ", f"script: {PEOPLE}/")
    path = directory / "functions.yaml"
    path.write_text(text)
    return path


def ours(server, video, counter):
    counter[0] += 1
    start = time.monotonic()
    server.client("put", video, f"videos/v{counter[0]}.avi")
    server.client("wait", "--idle", "--timeout", "30m")
    return time.monotonic() - start


def baseline(video):
    work = pathlib.Path(tempfile.mkdtemp(prefix="millrace-bench-"))
    (work / "frames").mkdir()
    (work / "people").mkdir()
    environment = dict(os.environ, FRAMES=str(FRAMES), OPENBLAS_NUM_THREADS="1", PATH="/usr/bin:/bin")
    start = time.monotonic()
    subprocess.run(["sh", PEOPLE / "keyframes.sh"], check=True, stdout=subprocess.DEVNULL,
                   env=dict(environment, INPUT_FILE_PATH=str(video), TMP_OUTPUT_DIR=str(work / "frames")))
    names = "\0".join(sorted(str(path) for path in (work / "frames").iterdir()))
    subprocess.run(["xargs", "-0", "-n", "1", "-P", str(os.cpu_count()), "sh", "-c",
                    f'INPUT_FILE_PATH="$1" exec python3 {PEOPLE}/people.py', "sh"],
                   input=names, text=True, check=True, stdout=subprocess.DEVNULL,
                   env=dict(environment, TMP_OUTPUT_DIR=str(work / "people")))
    elapsed = time.monotonic() - start
    shutil.rmtree(work)
    return elapsed


def main():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="millrace-bench-"))
    video = directory / "v.avi"
    subprocess.run([common.ROOT / "scripts" / "fetch_demo_video", video], check=True)
    server = common.Server()
    try:
        server.client("apply", definition(directory))
        counter = [0]
        cpu_before = server.cpu_seconds()
        pairs = common.alternate(lambda: ours(server, video, counter), lambda: baseline(video), ROUNDS)
        events = (ROUNDS + 1) * (FRAMES + 1)
        cpu = (server.cpu_seconds() - cpu_before) * 1000 / events
    finally:
        server.close()
        shutil.rmtree(directory)
    name = f"xargs -P {os.cpu_count()}"
    result = common.row(f"makespan of {FRAMES} frames", "s", pairs, name, cpu)
    common.report("chain", [result],
                  [{"name": "makespan over xargs", "want": "<= 1.07", "got": round(result["ratio"], 3),
                    "ok": result["ratio"] <= 1.07}])


if __name__ == "__main__":
    main()
