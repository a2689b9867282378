"""The server of an ordinary user, on a host that lets users make namespaces: containers all the same, and what a function
in them can reach of a machine where it has its user's own id."""
import json
import os
import pwd
import re
import shutil
import socket
import subprocess

import harness
import test_images

IPC_CREAT, IPC_RMID = 0o1000, 0

STAMP = """#!/bin/sh
cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/$FILE_NAME"
cat /run/secrets/KEY >"$TMP_OUTPUT_DIR/key"
cat /etc/app.conf >"$TMP_OUTPUT_DIR/conf"
"""
# How long the processes of this test's tree would sleep: no other test, which may run beside it, has any like them.
OURS = f"4343{os.getpid():07d}"
TREE = f"""#!/bin/sh
setsid sh -c 'trap "" TERM; sleep {OURS}' &
sleep {OURS}
"""
# What of the machine a function reaches that has the id of whoever owns it. Prints what succeeded.
REACH = r"""#!/usr/bin/python3
import ctypes, errno, json, os, signal, socket, sys
plan = json.loads(os.environ["PLAN"])
libc = ctypes.CDLL(None, use_errno=True)
reached = []
def attempt(name, action):
    try:
        if action(): reached.append(name)
    except (OSError, ProcessLookupError, PermissionError): pass
def call(number, *arguments):
    return lambda: libc.syscall(number, *arguments) >= 0
for path in plan["files"]:
    attempt("read " + path, lambda: os.stat(path))
    attempt("through /proc " + path, lambda: os.stat("/proc/1/root" + path))
    attempt("write " + path, lambda: os.open(path, os.O_WRONLY))
for pid in plan["pids"]:
    attempt(f"see {pid}", lambda: os.path.exists(f"/proc/{pid}/status") and pid > 9)
    attempt(f"signal {pid}", lambda: pid > 9 and os.kill(pid, 0) is None)
    attempt(f"trace {pid}", call(101, 16, pid, 0, 0))  # PTRACE_ATTACH
    attempt(f"read the memory of {pid}", call(310, pid, 0, 0, 0, 0, 0))
    attempt(f"open {pid}", lambda: pid > 9 and os.pidfd_open(pid))
    attempt(f"limit {pid}", lambda: pid > 9 and __import__("resource").prlimit(pid, 7))
others = [p for p in os.listdir("/proc") if p.isdigit() and int(p) != os.getpid()]
attempt("see others " + " ".join(others), lambda: others)
attempt("signal everybody", lambda: os.kill(-1, 0) is None)
for port in plan["ports"]:
    attempt(f"connect to {port}", lambda: socket.create_connection(("127.0.0.1", port), 1))
def abstract():
    with socket.socket(socket.AF_UNIX) as s: s.connect("\0" + plan["abstract"]); return True
attempt("an abstract socket", abstract)
attempt("shared memory", lambda: libc.shmget(plan["shm"], 0, 0) >= 0)
attempt("a message queue", lambda: libc.syscall(240, b"/" + plan["abstract"].encode(), 0, 0, 0) >= 0)
for name, number, arguments in (("unshare users", 272, (0x10000000,)), ("unshare mounts", 272, (0x20000,)),
                                ("clone users", 56, (0x10000000 | 17, 0, 0, 0, 0)), ("clone3", 435, (0, 0)),
                                ("keyctl", 250, (0, -5, 0)), ("add_key", 248, (b"user", b"k", b"v", 1, -5)),
                                ("mount", 165, (b"none", b"/tmp", b"tmpfs", 0, 0)), ("bpf", 321, (0, 0, 0)),
                                ("setns", 308, (0, 0)), ("chroot", 161, (b"/tmp",))):
    child = os.fork()
    if child == 0:
        result = libc.syscall(number, *arguments)
        os._exit(1 if result >= 0 else 0)
    if os.waitpid(child, 0)[1] != 0: reached.append(name)
attempt("become root", lambda: os.setuid(0) is None)
attempt("leave the groups", lambda: os.setgroups([]) is None)
for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/usr/x", "/etc/x", "/x", "/dev/x", "/tmp/in/x",
             "/oscar/config/script.sh", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/user/max_user_namespaces"):
    if path == "/proc/sysrq-trigger" and os.path.exists(path) and os.stat(path).st_rdev == os.makedev(1, 3): continue
    attempt("write " + path, lambda: os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))
attempt("be spared", lambda: os.write(os.open("/proc/self/oom_score_adj", os.O_WRONLY), b"-1"))
attempt("the group's name", lambda: open("/proc/self/cgroup").read().count(":/\n") != open("/proc/self/cgroup").read().count("\n"))
status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
print(json.dumps({"reached": reached, "ids": [os.getuid(), os.getgid()], "map": open("/proc/self/uid_map").read().split(),
                  **{k: status[k] for k in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")}}))
"""


def pids_of_ours():
    return [pid for pid in harness.all_pids() if OURS.encode() in harness.read_proc(pid, "cmdline")]


class Rootless(harness.TestCase):
    def setUp(self):
        super().setUp()
        if subprocess.run([*harness.AS_ORDINARY_USER, "unshare", "--user", "--map-root-user", "--mount", "true"],
                          capture_output=True, check=False).returncode != 0:
            self.skipTest("this host lets no ordinary user make user namespaces")
        self.user = pwd.getpwnam(harness.USER)

    def start(self, options=None):
        return self.make_ordinary_server(options).start()

    def apply(self, server, status=0, **fields):
        return server.apply({"name": "f", "script": "echo hi\n", **fields}, status=status)

    def refused(self, server, expected, **fields):
        done = self.apply(server, None, **fields)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(expected, done.stderr.decode())

    def test_files_secrets_and_outputs(self):
        server = self.start()
        self.assertNotIn("cannot be isolated", server.log())
        server.apply({"name": "stamp", "script": STAMP, "input": ["in"], "output": ["out"],
                      "secrets": {"KEY": "hunter2"}, "files": {"/etc/app.conf": "conf"}})
        server.drop("in", "a", b"content")
        server.wait_idle()
        for name, content in (("a", b"content"), ("key", b"hunter2"), ("conf", b"conf")):
            self.assert_one_output(server, "out", name, content)
            self.assertEqual((server.bucket("out") / name).stat().st_uid, self.user.pw_uid)
        # The other way in, and a file that the function may not change though its user owns it.
        server.cli("put", "-", "in/b", stdin=b"again")
        server.wait_idle()
        self.assert_one_output(server, "out", "b", b"again")
        server.apply({"name": "spoil", "input": ["spoil"], "script":
                      '#!/bin/sh\nchmod 777 "$INPUT_FILE_PATH"; echo x >"$INPUT_FILE_PATH"; rm -f "$INPUT_FILE_PATH"; true\n'})
        server.cli("put", "-", "spoil/a", stdin=b"whole")
        server.wait_idle()
        self.assertEqual(server.cli("get", "spoil/a").stdout, b"whole")

    def test_reaches_nothing_of_its_user(self):
        server = self.start()
        _, port = server.address()
        home = self.folder / "home"
        home.mkdir()
        (home / "private").write_text("x")
        os.chown(home, self.user.pw_uid, self.user.pw_gid)
        os.chown(home / "private", self.user.pw_uid, self.user.pw_gid)
        name = f"millrace-test-{os.getpid()}"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("\0" + name)
            listener.listen()
            pids = [server.process.pid, *server.children("daemon"), *server.children("launcher"), os.getpid(), 2]
            plan = {"files": [str(server.data), str(server.data / "admin-token"), str(server.data / "state.db"),
                              str(home / "private"), str(harness.REPOSITORY)],
                    "pids": pids, "ports": [int(port)], "abstract": name, "shm": os.getpid()}
            segment = harness.LIBC.shmget(plan["shm"], 4096, IPC_CREAT | 0o666)
            self.assertGreaterEqual(segment, 0)
            self.addCleanup(harness.LIBC.shmctl, segment, IPC_RMID, None)
            server.apply({"name": "reach", "script": REACH, "environment": {"PLAN": json.dumps(plan)}})
            found = json.loads(server.cli("run", "reach").stdout)
            # It can find what is there.
            server.apply({"name": "bare", "executor": "process", "script": REACH, "environment": {"PLAN": json.dumps(plan)}})
            bare = set(json.loads(server.cli("run", "bare").stdout)["reached"])
        self.assertLessEqual({f"read {server.data / 'admin-token'}", f"connect to {port}", "an abstract socket",
                              "shared memory", f"signal {server.children('daemon')[0]}"}, bare)
        self.assertEqual(found["reached"], [])
        self.assertEqual({key: int(found[key], 16) for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")},
                         dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), 0))
        self.assertEqual((found["NoNewPrivs"], found["Seccomp"]), ("1", "2"))
        self.assertEqual(found["ids"], [65533, 65533])
        self.assertEqual(found["map"][2], "1")
        self.assertTrue(server.is_healthy())

    def test_timeout_ends_the_tree(self):
        server = self.start()
        server.apply({"name": "slow", "timeout": "1s", "script": TREE})
        self.assertIn(b"ran longer than 1s", server.cli("run", "slow", status=None).stderr)
        self.assertEqual(pids_of_ours(), [])

    def test_nothing_outlives_the_launcher(self):
        server = self.start()
        server.apply({"name": "slow", "script": TREE})
        server.cli("run", "slow", "--async")
        harness.until(lambda: len(pids_of_ours()) == 3, "it runs")  # two that sleep, and the shell of one of them
        first = set(pids_of_ours())
        launcher, = server.children("launcher")
        harness.kill(launcher)
        harness.until(lambda: first.isdisjoint(pids_of_ours()), "all of it is gone")  # the next attempt has its own

    def test_no_process_outlives_the_launcher(self):
        server = self.start()
        server.apply({"name": "bare", "executor": "process", "retries": 0, "script": TREE.replace("setsid", "setsid setsid")})
        server.cli("run", "bare", "--async")
        harness.until(lambda: len(pids_of_ours()) == 3, "it runs")
        first = set(pids_of_ours())
        launcher, = server.children("launcher")
        harness.kill(launcher)
        harness.until(lambda: first.isdisjoint(pids_of_ours()), "all of it is gone")

    def test_copy_on_write_image_of_the_user(self):
        self.require_packages("test")
        place = self.folder / "images"
        place.mkdir()
        image = test_images.make_image(place)
        for folder, _, files in os.walk(place):
            for path in (folder, *(os.path.join(folder, name) for name in files)):
                os.chown(path, self.user.pw_uid, self.user.pw_gid, follow_symlinks=False)
        server = self.start({"--image-directories": str(place)})
        server.apply({"name": "small", "image": f"rootfs:{image}", "root": "copy_on_write", "output": ["out"],
                      "limits": {"scratch": "1Mi"},
                      "script": "#!/bin/sh\nid -u\necho changed >/etc/passwd && cat /etc/passwd\n"
                                "cp /bin/busybox /data/a && cp /bin/busybox /data/b && echo too much\n"
                                "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status\n"})
        said = server.cli("run", "small").stdout.decode()
        self.assertEqual(said, "0\nchanged\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n")
        self.assertEqual((image / "etc/passwd").read_text(), "root:x:0:0::/:/bin/sh\n")
        self.assertEqual(list((image / "data").iterdir()), [])

    def test_what_does_not_hold_is_refused_or_named(self):
        server = self.start()
        self.refused(server, "profile: compat is not possible on this host: it needs several users", profile="compat")
        self.refused(server, "executor: oci is not possible on this host", executor="oci")
        done = self.apply(server)
        text = (done.stdout + done.stderr).decode()
        states = self.check(server)
        if states["memory"] == "missing":
            self.assertRegex(text, r"memory: \w+ \(default\) is not enforced on this host")
            self.refused(server, "memory: 64Mi cannot be enforced on this host", memory="64Mi")
        self.assertEqual(server.cli("run", "f").stdout, b"hi\n")

    def check(self, server):
        done = subprocess.run([*server.wrapper, server.program, "check", "--data", str(server.data)],
                              capture_output=True, text=True, check=False)
        self.assertIn("not root: functions run as this user, in containers", done.stdout)
        self.assertEqual(done.returncode, 0, done.stdout)
        states = dict(re.findall(r"^(\w+) +(\w+)", done.stdout, re.MULTILINE))
        self.assertEqual([states[name] for name in ("isolation", "seccomp", "idmapped_mounts", "user_ids", "user")],
                         ["real", "real", "emulated", "missing", "emulated"], done.stdout)
        return states


if __name__ == "__main__":
    harness.main()
