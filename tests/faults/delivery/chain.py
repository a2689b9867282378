"""A chain of two functions, and a checker that knows everything that was put into it.

Every input makes two files in bucket `mid`, and each of these one in bucket `out`. Each lies in a folder named after the
run that made it, so that whatever is done twice shows as a second file. Inputs named `flaky*` fail once, inputs named
`poison*` always; `flaky*-synced` syncs everything first.
"""
import http.client
import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "e2e"))
import harness

PARTS = (b"a", b"b")
PAGE = 1000
PAYLOAD = b"0123456789abcdef" * 64  # torn files would show

# Any process of a function may be killed: none of them may make it succeed with something else.
FIRST = """#!/bin/sh
set -e
name=${{INPUT_FILE_PATH##*/}}
case "$name" in
  poison*) exit 64 ;;
  flaky*)
    if mkdir "{marks}/$name" 2>/dev/null; then
      case "$name" in *-synced) sync -f "$TMP_OUTPUT_DIR" ;; esac
      exit 1
    fi ;;
esac
mkdir "$TMP_OUTPUT_DIR/$MILLRACE_RUN_ID"
for part in a b; do
  {{ cat "$INPUT_FILE_PATH"; echo "first $part"; }} >"$TMP_OUTPUT_DIR/$MILLRACE_RUN_ID/$name.$part"
done
"""
SECOND = """#!/bin/sh
set -e
mkdir "$TMP_OUTPUT_DIR/$MILLRACE_RUN_ID"
{ cat "$INPUT_FILE_PATH"; echo second; } >"$TMP_OUTPUT_DIR/$MILLRACE_RUN_ID/${INPUT_FILE_PATH##*/}"
"""
CALLED = """#!/bin/sh
cat >"$TMP_OUTPUT_DIR/called"
"""
# Deaths cost attempts, and a test has many.
PATIENT = {"retries": 50, "max_losses": 1000, "retry": {"base": "20ms", "cap": "200ms"}, "memory": "32Mi",
           "cpu": "100m"}


def content(name):
    return name + b"\n" + PAYLOAD + b"\n"


class Chain:
    def __init__(self, test, server, folder, executor="process"):
        self.test, self.server, self.executor = test, server, executor
        self.marks = folder / "marks"
        self.marks.mkdir()
        self.marks.chmod(0o777)
        self.confirmed = set()  # answered 2xx
        self.unknown = set()    # whoever asked got no answer: there or not, but whole
        self.writes_ends = True  # false: an attempt's end may find no room, and the sweeper ends it as lost then
        self.called = {}        # run ids of confirmed invocations, and what they were given

    def apply(self):
        common = PATIENT | {"executor": self.executor}
        # The mark of a flaky input lies on the host, which a container does not see: it has none.
        self.server.apply(
            {"name": "first", "script": FIRST.format(marks=self.marks), "input": ["in"], "output": ["mid"], **common},
            {"name": "second", "script": SECOND, "input": ["mid"], "output": ["out"], **common},
            {"name": "called", "script": CALLED, "output": ["calls/{run}"], **common})

    # ---- putting in

    def ask(self, method, path, body, server=None):
        """The response, or nothing where the server went away."""
        try:
            return (server or self.server).request(method, path, body)
        except (OSError, http.client.HTTPException):
            return None

    def put(self, name):
        """Whether it was confirmed."""
        name = os.fsencode(name)
        self.unknown.add(name)
        response = self.ask("PUT", f"/api/v1/buckets/in/objects/{os.fsdecode(name)}", content(name))
        if response is None or response.status // 100 != 2:
            return False
        self.unknown.discard(name)
        self.confirmed.add(name)
        return True

    def call(self, text):
        response = self.ask("POST", "/api/v1/functions/called/invoke?async=true", text)
        if response is None or response.status != 202:
            return False
        self.called[response.json()["run_id"]] = text
        return True

    def drop(self, name):
        """As a program of the same host does, whatever the server does meanwhile."""
        name = os.fsencode(name)
        path = os.fsencode(self.server.bucket("in"))
        with open(os.path.join(path, b".new"), "wb") as file:
            file.write(content(name))
        os.rename(os.path.join(path, b".new"), os.path.join(path, name))
        self.confirmed.add(name)

    # ---- looking

    def files(self, bucket):
        """Contents by key."""
        root = os.fsencode(self.server.bucket(bucket))
        found = {}
        for key in self.server.names(bucket):
            with open(os.path.join(root, key), "rb") as file:
                found[key] = file.read()
        return found

    def expected(self, inputs):
        """What `mid` and `out` hold by base name when all is done."""
        good = {name for name in inputs if not name.startswith(b"poison")}
        mid = {name + b"." + part: content(name) + b"first " + part + b"\n" for name in good for part in PARTS}
        return mid, {name: text + b"second\n" for name, text in mid.items()}

    def check_whole(self):
        """Whatever has appeared by now is whole, and there once. True also before everything is done."""
        inputs = self.files("in")
        for name, text in inputs.items():
            self.test.assertEqual(text, content(name), f"torn input {name!r}")
        known = self.confirmed | self.unknown
        self.test.assertLessEqual(set(inputs), known)
        self.test.assertLessEqual(self.confirmed, set(inputs), "confirmed and gone")
        for bucket, expected in zip(("mid", "out"), self.expected(known)):
            seen = {}
            for key, text in self.files(bucket).items():
                base = os.path.basename(key)
                self.test.assertNotIn(base, seen, f"twice in {bucket}: {key!r} and {seen.get(base)!r}")
                seen[base] = key
                self.test.assertEqual(text, expected.get(base), f"torn output {key!r} in {bucket}")
        return set(inputs)

    def check(self):
        """Everything is done, each once, and the records tell it all. The details of every run, by function and name."""
        inputs = self.check_whole()
        for bucket, expected in zip(("mid", "out"), self.expected(inputs)):
            found = {os.path.basename(key) for key in self.server.names(bucket)}
            self.test.assertEqual(found, set(expected), f"bucket {bucket}: lost or too many")
        calls = {os.path.dirname(key).decode(): text for key, text in self.files("calls").items()}
        for run_id, text in self.called.items():
            self.test.assertEqual(calls.get(run_id), text, f"confirmed invocation {run_id}")

        poisoned = {name for name in inputs if name.startswith(b"poison")}
        details = harness.until(self.details, "every attempt has an end, by the sweeper's hand if need be")
        by_input = {}
        for run in details:
            self.check_record(run)
            key = os.fsencode(run["input"]["key"]) if "input" in run else run["run_id"].encode()
            name = run["function"], os.path.basename(key)
            self.test.assertNotIn(name, by_input, "two runs for one input")
            by_input[name] = run
            wanted = "dead_lettered" if name[1] in poisoned else "succeeded"
            self.test.assertEqual(run["outcome"], wanted, json.dumps(run))
        middle = set(self.expected(inputs)[0])
        self.test.assertEqual({name for function, name in by_input if function == "first"}, inputs)
        self.test.assertEqual({name for function, name in by_input if function == "second"}, middle)
        for topic in self.server.ask("topics")["topics"]:
            if topic["name"].startswith("fn."):
                left = {key: topic.get(key) for key in ("pending", "in_flight", "delayed")}
                self.test.assertEqual(set(left.values()) - {None}, {0}, f"{topic}")
                dead = len(poisoned) if topic["name"] == "fn.first" else 0
                self.test.assertEqual(topic["dead"], dead, f"{topic}")
        self.check_directories(details)
        return by_input

    def details(self):
        """Records of all runs with their attempts, by one connection. Nothing while an attempt is open."""
        connection = http.client.HTTPConnection(*self.server.address(), timeout=60)

        def get(path):
            connection.request("GET", path, headers={"Authorization": "Bearer " + self.server.token()})
            return json.loads(connection.getresponse().read())
        found, page = [], get(f"/api/v1/runs?limit={PAGE}")["runs"]
        while page:
            found += [get(f"/api/v1/runs/{run['run_id']}") for run in page]
            page = get(f"/api/v1/runs?limit={PAGE}&before={page[-1]['run_id']}")["runs"]
        connection.close()
        return found if all("outcome" in attempt for run in found for attempt in run["attempts"]) else None

    def check_record(self, run):
        """What its attempts tell is what its counters tell."""
        told = json.dumps(run)
        attempts = run["attempts"]
        outcomes = [attempt["outcome"] for attempt in attempts]
        for attempt in attempts:  # when the worker went away with it, nobody knows when it ended
            self.test.assertTrue("ended_at" in attempt or attempt["outcome"] == "lost", told)
        winner = [attempt for attempt in attempts if attempt["token"] == run.get("token")]
        self.test.assertEqual(len(winner), 1, f"the row names one of its attempts: {told}")
        self.test.assertEqual(winner[0]["outcome"], "succeeded" if run["outcome"] == "succeeded" else "failed", told)
        self.test.assertEqual(outcomes.count("succeeded"), 1 if run["outcome"] == "succeeded" else 0, told)
        # A life that ends between an attempt's end and the verdict about it counts as a loss, and one that ends before
        # the attempt is on record leaves a loss without an attempt.
        failed, lost = outcomes.count("failed"), outcomes.count("lost")
        self.test.assertLessEqual(run["failures"], failed, told)
        if self.writes_ends:
            self.test.assertLessEqual(lost, run["losses"], told)
            self.test.assertLessEqual(failed + lost, run["failures"] + run["losses"], told)

    def check_directories(self, details):
        """Of every run there is the directory of the attempt that stands, at most; the sweeper takes its time."""
        winners = {f"{run['run_id']}-{run.get('token')}" for run in details}
        roots = [self.server.bucket(bucket) / ".millrace" for bucket in ("mid", "out", "calls")]

        def left():
            return {path for root in roots for path in root.glob("[0-9a-f][0-9a-f]/*") if path.name not in winners}
        try:
            harness.until(lambda: not left(), "the sweeper removes what does not stand")
        except AssertionError:
            self.test.fail(f"directories of attempts that do not stand are left: {sorted(left())}")

    def check_log(self):
        """The server has stopped."""
        self.server.cli("log", "verify", self.server.data / "log")


class TestCase(harness.TestCase):
    def setUp(self):
        super().setUp()
        if b"MILLRACE_FAIL" not in pathlib.Path(harness.BIN).read_bytes():
            self.fail(f"{harness.BIN} has no fail points: MILLRACE_BIN must be millrace_failing")

    def make_chain(self, options=None, fail="", executor="process", name="one", data=None, preload=None):
        """A chain whose server is not started yet. `fail`: points at which its daemon dies."""
        folder = self.folder / f"{name}.points"
        folder.mkdir()
        folder.chmod(0o777)
        environment = [f"MILLRACE_FAIL={fail}", f"MILLRACE_FAIL_DIR={folder}"]
        if preload:
            environment.append(f"LD_PRELOAD={preload}")
        server = self.make_server({"--restarts-max": "1000", "--log-segment": "1Mi"} | (options or {}), name, ["env", *environment])
        if data:
            server.data = data
        chain = Chain(self, server, folder, executor)
        chain.points = folder
        chain.wanted = {point.partition("=")[0].partition(":")[0] for point in fail.split()}
        return chain

    def struck(self, chain):
        """Names of the points at which a daemon died or stopped."""
        return {path.name for path in chain.points.iterdir() if path.is_file()}

    def settle(self, chain, timeout="120s"):
        """Waits until the server is there and has nothing left to do. One that was just dying counts for nothing."""
        def idle():
            if not chain.server.is_healthy():
                return False
            return chain.server.cli("wait", "--idle", "--timeout", timeout, status=None).returncode == 0
        harness.until(idle, "the server is ready again and idle")
