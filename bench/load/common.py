"""What the load benchmarks share: a server of our own, machine facts, alternating rounds, the result file.

A case runs ours and its baseline in turn (A B B A ...), drops the first pair, and reports the median of the pairwise
ratios with their spread: absolute times of a busy machine say nothing, ratios of one run do.
"""
import json
import os
import pathlib
import platform
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
MILLRACE = ROOT / "build" / "release" / "millrace"


class Server:
    """A `millrace serve` on a fresh data directory, ended with its whole tree."""

    def __init__(self, *arguments):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="millrace-bench-"))
        self.directory.chmod(0o755)
        self.data = self.directory / "data"
        self.log = open(self.directory / "log", "w")
        self.process = subprocess.Popen(
            [MILLRACE, "serve", "--data", self.data, "--listen", "127.0.0.1:0", *arguments],
            stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 60
        while not (self.data / "listen").exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit((self.directory / "log").read_text())
            time.sleep(0.02)
        address = (self.data / "listen").read_text().strip()
        self.environment = dict(os.environ, MILLRACE_URL=f"http://{address}",
                                MILLRACE_TOKEN=(self.data / "admin-token").read_text().strip())

    def client(self, *arguments):
        return subprocess.run([MILLRACE, *map(str, arguments)], env=self.environment, check=True,
                              stdout=subprocess.PIPE, text=True).stdout

    def processes(self):
        """The supervisor's pid and those of its children."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def cpu_seconds(self):
        """Of supervisor, launcher and daemon themselves, without the functions."""
        ticks = 0
        for pid in self.processes():
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory_bytes(self, pid, field):
        """A row of smaps_rollup: "Rss", or "Pss", which counts what processes share only once over all of them."""
        for line in open(f"/proc/{pid}/smaps_rollup"):
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
        raise SystemExit(f"no {field} for {pid}")

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.log.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], stdout=subprocess.PIPE, text=True)
    return {"cpu": model, "cores": os.cpu_count(), "memory_bytes": memory, "kernel": platform.release(),
            "commit": commit.stdout.strip(), "load_before": os.getloadavg()[0]}


def alternate(ours, baseline, rounds):
    """Seconds of each, the first pair dropped."""
    pairs = []
    for index in range(rounds + 1):
        if index % 2 == 0:
            a = ours()
            b = baseline()
        else:
            b = baseline()
            a = ours()
        pairs.append((a, b))
    return pairs[1:]


def row(name, unit, pairs, baseline_name, cpu_ms_per_event):
    ratios = sorted(a / b for a, b in pairs)
    ours = sorted(a for a, _ in pairs)
    return {"name": name, "unit": unit, "ours": statistics.median(ours),
            "baseline": statistics.median(b for _, b in pairs), "baseline_name": baseline_name,
            "ratio": statistics.median(ratios), "p50": statistics.median(ours), "p99": ours[-1],
            "spread": [ratios[0], ratios[-1]], "rounds": len(pairs), "cpu_ms_per_event": cpu_ms_per_event}


def report(case, rows, bars):
    result = {"case": case, "machine": machine(), "rows": rows, "bars": bars}
    target = ROOT / "build" / "bench"
    target.mkdir(parents=True, exist_ok=True)
    (target / f"{case}.json").write_text(json.dumps(result, indent=2) + "\n")
    for item in rows:
        line = f"{item['name']:<28} {item['ours']:10.3f} {item['unit']:<4}"
        if item.get("baseline") is not None:
            line += (f" against {item['baseline']:.3f} ({item['baseline_name']}): ratio {item['ratio']:.3f}"
                     f" [{item['spread'][0]:.3f} .. {item['spread'][1]:.3f}], {item['rounds']} rounds")
        elif "p99" in item:
            line += f" p99 {item['p99']:.3f}"
        if item.get("cpu_ms_per_event") is not None:
            line += f", {item['cpu_ms_per_event']:.2f} CPU-ms of ours per event"
        print(line)
    for bar in bars:
        print(f"  {'reached' if bar['ok'] else 'MISSED '}  {bar['name']}: want {bar['want']}, got {bar['got']}")
    print(f"  -> {target / (case + '.json')}")
