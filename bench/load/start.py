#!/usr/bin/env python3
"""Starting a program that does nothing: in our container by the launcher, beside posix_spawn, bubblewrap, runc and crun.

Ours has all namespaces, a read-only root, limits by cgroup, seccomp, one input file and an output directory, and is
measured from the request to the word that nothing of it is left, once more with a copy-on-write root; the others from their start until they are reaped. runc
has the same limits and a seccomp filter; bubblewrap and crun have neither here (crun refuses to work where cgroup v1 and
v2 are mounted side by side, and v2 alone has no controllers then), which their rows say. Needs root.
"""
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile

import common

ROUNDS = int(os.environ.get("ROUNDS", "7"))
STARTS = int(os.environ.get("STARTS", "100"))
SLOW_STARTS = int(os.environ.get("SLOW_STARTS", "10"))
PACED_STARTS = int(os.environ.get("PACED_STARTS", "300"))
MANY_STARTS = int(os.environ.get("MANY_STARTS", "10000"))
HELD = 100
IN_FLIGHT = 4
BUILT = common.ROOT / "build" / "release" / "bench"
DENIED = ["acct", "add_key", "bpf", "delete_module", "finit_module", "init_module", "kexec_load", "keyctl", "mount",
          "open_by_handle_at", "perf_event_open", "pivot_root", "ptrace", "reboot", "setns", "swapoff", "swapon",
          "umount2", "unshare", "userfaultfd"]


class Rounds:
    """The program that starts and measures; one line of it for one of ours."""

    def __init__(self, program, directory, wrapper=()):
        launcher = BUILT.parent / "bin" / "millrace-launcher"
        self.process = subprocess.Popen([*wrapper, BUILT / "start_rounds", program, directory], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True,
                                        env=os.environ | {"MILLRACE_LAUNCHER": str(launcher)})

    def __call__(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        if not answer:
            raise SystemExit(f"start_rounds ended at: {words}")
        return [float(word) for word in answer]

    def median(self, name, count):
        return statistics.median(self("run", name, count, 1, 0)[1:])

    def rate(self, name, count):
        return count / self("run", name, count, IN_FLIGHT, 0)[0]

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)


def make_bundle(directory, root, limits):
    """What runc and crun start: namespaces, read-only root, and for runc limits and seccomp as ours has."""
    spec = {
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 65533, "gid": 65533}, "args": ["/nothing"], "env": ["PATH=/"], "cwd": "/",
                    "noNewPrivileges": True, "capabilities": {}},
        "root": {"path": str(root), "readonly": True},
        "hostname": "function",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev"]}],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
                  "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug"],
                  "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]}}
    if limits:
        spec["linux"]["resources"] = {"memory": {"limit": 128 << 20}, "cpu": {"shares": 204}, "pids": {"limit": 64}}
        spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                                    "syscalls": [{"names": DENIED, "action": "SCMP_ACT_ERRNO"}]}
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(spec))
    return directory


# crun starts nothing where cgroup v1 and v2 are mounted side by side: it sees v2 alone.
V2_ALONE = ("unshare", "--mount", "sh", "-c", "mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"", "sh")


def define_peers(rounds, crun, program, directory):
    root = directory / "root"
    for name in ("proc", "dev", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy(program, root / "nothing")
    files = directory / "files"
    (files / "output").mkdir(parents=True)
    (files / "input").write_text("input")
    rounds("command", "spawn", program)
    rounds("command", "bwrap", "bwrap", "--unshare-all", "--ro-bind", root, "/", "--proc", "/proc", "--dev", "/dev",
           "--tmpfs", "/tmp", "--ro-bind", files / "input", "/tmp/in", "--bind", files / "output", "/tmp/out", "/nothing")
    rounds("command", "runc", "runc", "--root", directory / "runc", "run", "--bundle",
           make_bundle(directory / "limited", root, True), f"millrace-bench-{os.getpid()}-{{}}")
    crun("command", "crun", "crun", "--root", directory / "crun", "--cgroup-manager=disabled", "run", "--bundle",
           make_bundle(directory / "bare", root, False), f"millrace-bench-{os.getpid()}-{{}}")


def kernel_bytes():
    kept = ("Slab:", "KernelStack:", "PageTables:", "Percpu:")
    return sum(int(line.split()[1]) * 1024 for line in open("/proc/meminfo") if line.split()[0] in kept)


def residue(pid):
    """What starts could leave behind, counted; not the groups that the launcher keeps open for the next ones, 64 at most,
    which vary with how the last ones came."""
    files = [link for link in map(target, pathlib.Path(f"/proc/{pid}/fd").iterdir())
             if not link.startswith(("/sys/fs/cgroup/", "anon_inode:[eventfd]"))]
    groups = sum(1 for folder, _, _ in os.walk("/sys/fs/cgroup") if f"millrace-bench-{os.getpid()}" in folder)
    return {"descriptors": len(files),
            "mounts": len(pathlib.Path("/proc/self/mountinfo").read_text().splitlines()),
            "runc_groups": groups,
            "resident": next(int(line.split()[1]) * 1024 for line in open(f"/proc/{pid}/status")
                             if line.startswith("VmRSS"))}


def target(link):
    try:
        return os.readlink(link)
    except FileNotFoundError:  # closed meanwhile
        return "anon_inode:[eventfd]"


def compare(rounds, crun):
    """Rows of single starts and of rates, every program in each round."""
    names = {"ours": STARTS, "copy": STARTS, "spawn": STARTS, "bwrap": SLOW_STARTS, "runc": SLOW_STARTS, "crun": SLOW_STARTS}
    times = {name: [] for name in names}
    rates = {name: [] for name in names}
    for index in range(ROUNDS + 1):
        for name in names if index % 2 == 0 else reversed(names):
            starter = crun if name == "crun" else rounds
            times[name].append(starter.median(name, names[name]))
            rates[name].append(starter.rate(name, names[name]))
    labels = {"spawn": "posix_spawn", "bwrap": "bubblewrap, no limits, no seccomp", "runc": "runc",
              "crun": "crun, no limits, no seccomp"}
    rows = {}
    for name, label in labels.items():
        pairs = [(a * 1e3, b * 1e3) for a, b in zip(times["ours"], times[name])][1:]
        rows["start", name] = common.row(f"start to reaped, and {name}", "ms", pairs, label, None)
    pairs = [(a * 1e3, b * 1e3) for a, b in zip(times["copy"], times["spawn"])][1:]
    rows["start", "copy"] = common.row("start to reaped, copy-on-write root", "ms", pairs, "posix_spawn", None)
    for name, label in labels.items():
        pairs = list(zip(rates["ours"], rates[name]))[1:]
        rows["rate", name] = common.row(f"{IN_FLIGHT} in flight, and {name}", "/s", pairs, label, None)
    return rows


def first_instruction(folder):
    """Seconds from a request to the first instruction of bench/event/stamp.cc, of each start."""
    stamp = pathlib.Path(shutil.copy(BUILT / "event_stamp", folder / "stamp"))
    stamp.chmod(0o755)
    launcher = BUILT.parent / "bin" / "millrace-launcher"
    answer = subprocess.run([BUILT / "event_rounds", stamp], input=f"start {STARTS * ROUNDS}\n", stdout=subprocess.PIPE,
                            text=True, check=True, env=os.environ | {"MILLRACE_LAUNCHER": str(launcher)}).stdout
    return [float(word) for word in answer.split()]


def paced(rounds, name, label):
    """A row of starts a tenth of a second apart: what has gone cold meanwhile, and the host's own hiccups, count."""
    times = sorted(rounds("run", name, PACED_STARTS, 1, 100)[1:])
    p50, p99 = statistics.median(times) * 1e3, times[int(len(times) * 0.99)] * 1e3
    return {"name": f"{label}, 10 a second", "unit": "ms", "ours": p50, "p50": p50, "p99": p99}


def bar(name, want, got, ok):
    return {"name": name, "want": want, "got": round(got, 3), "ok": ok}


def main():
    if os.geteuid() != 0:
        raise SystemExit("containers are started by root")
    directory = pathlib.Path(tempfile.mkdtemp(prefix="millrace-bench-"))
    folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-bench-", dir="/opt"))  # a place that containers see
    folder.chmod(0o755)
    program = pathlib.Path(shutil.copy(BUILT / "start_nothing", folder / "nothing"))
    program.chmod(0o755)
    rounds = Rounds(program, directory)
    crun = Rounds(program, directory, V2_ALONE)
    try:
        define_peers(rounds, crun, program, directory)
        launcher = int(rounds("pid")[0])
        compared = compare(rounds, crun)
        rows = list(compared.values())
        ratios = {key: row["ratio"] for key, row in compared.items()}
        over_spawn, runc_over = ratios["start", "spawn"], 1 / ratios["start", "runc"]
        bars = [bar("start over posix_spawn", "<= 3", over_spawn, over_spawn <= 3),
                bar("copy-on-write start over posix_spawn", "<= 4", ratios["start", "copy"], ratios["start", "copy"] <= 4),
                bar("runc's start over ours", ">= 30", runc_over, runc_over >= 30),
                bar("rate over posix_spawn's", ">= 0.4", ratios["rate", "spawn"], ratios["rate", "spawn"] >= 0.4),
                bar("rate over runc's", ">= 20", ratios["rate", "runc"], ratios["rate", "runc"] >= 20)]

        rows.append({"name": "start to first instruction", "unit": "ms",
                     "ours": statistics.median(first_instruction(folder)) * 1e3})
        rows += [paced(rounds, "ours", "start"), paced(rounds, "spawn", "posix_spawn")]
        step = rows[-2]["p99"] / rows[-2]["p50"]
        bars.append(bar("p99 over p50 at 10 starts a second", "< 4", step, step < 4))

        before = residue(launcher)
        rounds("run", "ours", MANY_STARTS, IN_FLIGHT, 0)
        after = residue(launcher)
        rows.append({"name": "launcher, resident", "unit": "KiB", "ours": after["resident"] / 1024})
        bars.append(bar("launcher, resident MiB", "< 4", after["resident"] / 2**20, after["resident"] < 4 << 20))
        left = sum(abs(after[name] - before[name]) for name in ("descriptors", "mounts", "runc_groups"))
        bars.append(bar(f"left by {MANY_STARTS} starts", "0", left, left == 0))
        grown = after["resident"] - before["resident"]
        bars.append(bar(f"launcher grown by {MANY_STARTS} starts, KiB", "<= 64", grown / 1024, grown <= 64 << 10))

        empty = kernel_bytes()
        rounds("hold", HELD)
        each = (kernel_bytes() - empty) / HELD
        rounds("release")
        rows.append({"name": "idle sandbox, kernel memory", "unit": "KiB", "ours": each / 1024})
        bars.append(bar("idle sandbox, kernel KiB", "<= 400", each / 1024, each <= 400 << 10))
    finally:
        rounds.close()
        crun.close()
        shutil.rmtree(directory, ignore_errors=True)
        shutil.rmtree(folder)
    common.report("start", rows, bars)


if __name__ == "__main__":
    main()
