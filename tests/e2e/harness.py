"""Runs `millrace serve` for tests as its users do, and looks for what it leaves behind.

    class Hello(harness.TestCase):
        def test_greets(self):
            server = self.start_server()
            server.apply({"name": "hello", "script": "echo hi\n"})
            self.assertEqual(server.cli("run", "hello").stdout, b"hi\n")

A test file ends with `harness.main()` and takes the names of its methods as arguments: all without any. Exit status 77:
everything was skipped. MILLRACE_BIN names the executable.
"""
import contextlib
import ctypes
import http.client
import json
import os
import pathlib
import pwd
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BIN = os.environ.get("MILLRACE_BIN") or str(REPOSITORY / "build" / "release" / "millrace")
EXAMPLES = REPOSITORY / "config" / "examples"
USER = "millrace"
AS_ORDINARY_USER = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--pdeathsig=KILL"]
# As on a host that lets users make no namespaces: in one in which the last may be made was this.
WITHOUT_NAMESPACES = ["unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c",
                      "echo 0 >/proc/sys/user/max_user_namespaces && "
                      "exec setpriv --inh-caps=-all --ambient-caps=-all \"$@\"", "sh"]
READY_TIMEOUT_S = 60  # hang guards, not expectations
STOP_TIMEOUT_S = 60
IDLE_TIMEOUT = "120s"
COMMAND_TIMEOUT_S = 150
POLL_S = 0.02
SKIPPED = 77
OPTIONS = {"--listen": "127.0.0.1:0", "--lease": "2s", "--sweep-every": "200ms", "--drain-timeout": "10s"}

COPY = '#!/bin/sh\ncp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"\n'


def until(condition, what, timeout_s=60.0):
    """The first true value of `condition()`, which is asked again and again."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:.0f} s in vain: {what}")
        time.sleep(POLL_S)


# Below those that the kernel gives to connections, one of which might have ours while a server is away.
PORTS = range(10_000, 20_000)


def free_port():
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def die_with_parent():
    """A test that is killed, by a time limit say, takes its server along."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def read_proc(pid, name):
    try:
        return pathlib.Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def kill(pid):
    """One that is gone already, along with its parent say, is dead all the same."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def stat_fields(pid):
    """State, parent, process group, session and so on; nothing of one that is gone."""
    stat = read_proc(pid, "stat")
    return stat[stat.rfind(b")") + 2:].split()


def all_pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


class Server:
    """One data directory, and the server on it as often as it is started."""

    def __init__(self, folder, options, wrapper=()):
        self.data = folder / "data"
        self.log_path = folder / "serve.log"
        self.options = options
        self.program = BIN
        self.command = "serve"
        self.wrapper = wrapper  # a command that becomes the server, with the rights or the host that it shall have
        self.process = None
        self.prefix = None  # of its cgroups
        self.sessions = set()

    # ---- life

    def launch(self):
        """Starts the process, and nothing more."""
        if self.data.is_dir():
            (self.data / "listen").unlink(missing_ok=True)  # of an earlier life
        options = OPTIONS | {"--data": str(self.data)} | self.options
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*self.wrapper, self.program, self.command, *(text for option in options.items() for text in option)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, preexec_fn=die_with_parent,
                env={k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")})
        self.sessions.add(self.process.pid)

    def start(self):
        self.launch()
        self.wait_ready()
        return self

    def wait_ready(self):
        def ready():
            status = self.process.poll()
            if status is not None:
                raise AssertionError(f"the server ended with status {status}:\n{self.log()[-4000:]}")
            return self.is_healthy()
        until(ready, "the server is ready", READY_TIMEOUT_S)
        for pid in self.children("launcher"):
            for argument in read_proc(pid, "cmdline").split(b"\0"):
                if argument.startswith(b"--prefix="):
                    self.prefix = argument.split(b"=", 1)[1].decode()

    def is_healthy(self):
        try:
            return self.request("GET", "/health", token=None).status == 200
        except (OSError, http.client.HTTPException, ValueError):
            return False

    def troubles(self):
        """What keeps it from taking work, each as (what, reason); none while it is healthy."""
        answer = self.request("GET", "/health", token=None)
        return [(each["what"], each["reason"]) for each in answer.json().get("reasons", [])] if answer.status == 503 else []

    def stop(self):
        """As `systemctl stop` does. Its exit status."""
        if self.process is None:
            return None
        self.process.terminate()
        try:
            status = self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server did not stop within {STOP_TIMEOUT_S} s:\n{self.log()[-4000:]}") from None
        self.process = None
        return status

    def kill(self):
        """Kills the supervisor: everything else ends with it."""
        self.process.kill()
        self.process.wait()
        self.process = None
        until(lambda: not self.own_pids(), "everything ends with the supervisor")
        self.sessions.clear()  # after thousands of processes others get their numbers

    def age_records(self, days):
        """While it is stopped: all runs happened so many days earlier. That cannot be waited for."""
        earlier = days * 86400 * 10**9
        database = sqlite3.connect(self.data / "state.db")
        with database:
            database.execute("UPDATE runs SET queued_at = queued_at - ?1, started_at = started_at - ?1,"
                             " committed_at = committed_at - ?1, finished_at = finished_at - ?1", (earlier,))
            database.execute("UPDATE attempts SET started_at = started_at - ?", (earlier,))
        database.close()

    def restart(self):
        self.stop()
        return self.start()

    def close(self):
        """Ends the server if it runs, and complains about what is left of it."""
        if self.process is not None:
            self.stop()
        left = []

        def nothing_left():
            left[:] = self.leftovers()
            return not left
        try:
            until(nothing_left, "nothing is left", 20)
        except AssertionError:
            for pid in self.own_pids():
                kill(pid)
            raise AssertionError("left behind: " + "; ".join(left)) from None

    # ---- processes

    def own_pids(self):
        """Every process of this server, whoever its parent is by now."""
        data = str(self.data).encode() + b"\0"
        prefix = self.prefix.encode() if self.prefix else None
        found = []
        for pid in all_pids():
            if pid == os.getpid():
                continue
            fields = stat_fields(pid)
            if len(fields) < 4 or fields[0] in (b"Z", b"X"):
                continue
            in_session = int(fields[3]) in self.sessions
            in_group = prefix is not None and prefix in read_proc(pid, "cgroup")
            if in_session or in_group or data in read_proc(pid, "cmdline"):
                found.append(pid)
        return found

    def children(self, kind):
        """Pids of our `launcher`, `daemon`, or of `function` processes."""
        if kind == "function":
            prefix = (self.prefix or "\0").encode()
            return [pid for pid in all_pids()
                    if prefix in read_proc(pid, "cgroup") and b"millrace" not in read_proc(pid, "comm")]
        wanted = {"launcher": (b"millrace-launcher",), "daemon": (b"millrace", b"daemon")}[kind]
        found = [pid for pid in self.own_pids()
                 if tuple(read_proc(pid, "cmdline").split(b"\0")[:len(wanted)]) == wanted]
        # Templates and sandboxes look like the launcher.
        return [pid for pid in found if not {int(parent) for parent in stat_fields(pid)[1:2]} & set(found)]

    def leftovers(self):
        left = [f"process {pid}: {read_proc(pid, 'cmdline').replace(bytes(1), b' ').decode(errors='replace')[:200]}"
                for pid in self.own_pids()]
        for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
            if str(self.data) in line or (self.prefix and self.prefix in line):
                left.append(f"mount {line}")
        if self.prefix and self.process is None:
            left += [f"cgroup {path}" for path in pathlib.Path("/sys/fs/cgroup").glob(f"*/{self.prefix}*")]
            left += [f"cgroup {path}" for path in pathlib.Path("/sys/fs/cgroup").glob(f"{self.prefix}*")]
        return left

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    # ---- talking to it

    def address(self):
        host, port = (self.data / "listen").read_text().strip().rsplit(":", 1)
        return host, int(port)

    def token(self):
        return (self.data / "admin-token").read_text().strip()

    def request(self, method, path, body=None, headers=None, token="own"):
        """A response whose `body` and `json()` are there already."""
        headers = dict(headers or {})
        if token is not None:
            headers["Authorization"] = "Bearer " + (self.token() if token == "own" else token)
        connection = http.client.HTTPConnection(*self.address(), timeout=60)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            response.body = response.read()
            response.json = lambda: json.loads(response.body)
            return response
        finally:
            connection.close()

    def cli(self, *arguments, status=0, stdin=b"", env=None):
        """Runs the client. `status=None`: any exit status will do."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")}
        environment["MILLRACE_DATA"] = str(self.data)
        environment.update(env or {})
        done = subprocess.run([BIN, *map(os.fsencode, arguments)], input=stdin, capture_output=True, env=environment,
                              timeout=COMMAND_TIMEOUT_S, check=False)
        if status is not None and done.returncode != status:
            raise AssertionError(f"millrace {' '.join(map(repr, arguments))}: exit status {done.returncode}, expected {status}\n"
                                 f"stdout: {done.stdout[-2000:]!r}\nstderr: {done.stderr[-2000:]!r}")
        return done

    def ask(self, *arguments):
        return json.loads(self.cli(*arguments, "-o", "json").stdout)

    def apply(self, *functions, status=0):
        """Each a dict as in functions.millrace."""
        document = json.dumps({"functions": {"millrace": list(functions)}})
        return self.cli("apply", "-", stdin=document.encode(), status=status)

    def wait_idle(self, timeout=IDLE_TIMEOUT):
        self.cli("wait", "--idle", "--timeout", timeout)

    def runs(self, function=None):
        """Runs that are over, newest first."""
        arguments = ["runs", "--limit", "10000"] + (["-f", function] if function else [])
        return [run for run in self.ask(*arguments)["runs"] if "outcome" in run]

    # ---- files

    def bucket(self, name):
        return self.data / "buckets" / name

    def names(self, bucket):
        """Keys of a bucket's files, as they lie there."""
        root = os.fsencode(self.bucket(bucket))
        found = set()
        for folder, folders, files in os.walk(root):
            if folder == root:
                folders[:] = [name for name in folders if name != b".millrace"]
            found.update(os.path.relpath(os.path.join(folder, name), root) for name in files)
        return found

    def drop(self, bucket, name, content):
        """As an ordinary program does: opens, writes, closes."""
        path = os.path.join(os.fsencode(self.bucket(bucket)), os.fsencode(name))
        with open(path, "wb") as file:
            file.write(content)
        return path


class TestCase(unittest.TestCase):
    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("the server is started as root, which we are not")
        try:
            pwd.getpwnam(USER)
        except KeyError:
            self.skipTest(f"there is no user '{USER}': scripts/make_user makes it")
        if not os.access(BIN, os.X_OK):
            self.fail(f"{BIN} is not built")
        # Not below /root, which the daemon's user cannot enter.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-e2e-", dir="/var/tmp"))
        self.folder.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.servers = []

    def make_server(self, options=None, name="one", wrapper=()):
        """Not started yet. `options`: of `millrace serve`, besides OPTIONS."""
        folder = self.folder / name
        folder.mkdir()
        server = Server(folder, options or {}, wrapper)
        self.servers.append(server)
        self.addCleanup(self._close, server)
        return server

    def make_ordinary_server(self, options=None, name="one", namespaces=True):
        """Not started yet, and started by an ordinary user then. `namespaces`: as far as this host lets users make them."""
        if not namespaces and subprocess.run([*AS_ORDINARY_USER, "unshare", "--user", "true"], check=False).returncode == 0:
            wrapper = [*AS_ORDINARY_USER, *WITHOUT_NAMESPACES]
        else:
            wrapper = AS_ORDINARY_USER
        server = self.make_server(options, name, wrapper)
        server.program = shutil.copy(BIN, server.data.parent)  # a checkout in root's home is out of that user's reach
        os.chown(server.data.parent, pwd.getpwnam(USER).pw_uid, -1)
        return server

    def start_server(self, options=None):
        return self.make_server(options).start()

    def assert_does_not_start(self, server, *expected):
        """It ends by itself, and its log says all of `expected`."""
        server.launch()
        status = server.process.wait(READY_TIMEOUT_S)
        server.process = None
        self.assertNotEqual(status, 0)
        for text in expected:
            self.assertIn(text, server.log())

    def _close(self, server):
        clean = False
        try:
            server.close()
            result = self._outcome.result
            clean = all(test is not self for test, _ in result.failures + result.errors)
        finally:
            if not clean:
                print(f"---- log of {server.data}\n{server.log()[-12000:]}", file=sys.stderr)

    def require_packages(self, section):
        """Fails, and does not skip, where a package of this section of scripts/packages.txt is not installed."""
        for line in (REPOSITORY / "scripts" / "packages.txt").read_text().splitlines():
            name, _, packages = line.partition(":")
            for package in packages.split() if name.strip() == section else ():
                found = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}", package], capture_output=True,
                                       check=False)
                self.assertEqual(found.stdout, b"installed", f"{package}: run `scripts/install_packages {section}`")

    def assert_one_output(self, server, bucket, name, content):
        path = os.path.join(os.fsencode(server.bucket(bucket)), os.fsencode(name))
        self.assertTrue(os.path.exists(path), f"{name!r} is not among {server.names(bucket)}")
        with open(path, "rb") as file:
            self.assertEqual(file.read(), content)


def main():
    """Runs the methods named on the command line, of whichever class has them."""
    module = sys.modules["__main__"]
    classes = [value for value in vars(module).values()
               if isinstance(value, type) and issubclass(value, TestCase) and value is not TestCase]
    wanted = sys.argv[1:]
    suite = unittest.TestSuite()
    for cls in classes:
        for name in unittest.defaultTestLoader.getTestCaseNames(cls):
            if not wanted or name in wanted:
                suite.addTest(cls(name))
    if suite.countTestCases() < max(1, len(wanted)):
        sys.exit(f"{sys.argv[0]}: no such tests: {' '.join(wanted)}")
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    if not result.wasSuccessful():
        sys.exit(1)
    if len(result.skipped) == result.testsRun:
        for _, reason in result.skipped:
            print("skipped:", reason)
        sys.exit(SKIPPED)
