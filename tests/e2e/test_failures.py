"""Functions that misbehave: what is recorded of them, and that nobody else notices."""
import re
import shutil
import subprocess

import harness

QUICK_RETRY = {"base": "10ms", "cap": "50ms"}


class Failures(harness.TestCase):
    def run_once(self, script, status, **fields):
        """One function, called synchronously; server, the client's outcome, and the record."""
        server = self.start_server()
        server.apply({"name": "f", "script": script, "output": ["out"], "retries": 0, **fields})
        done = server.cli("run", "f", status=status)
        record = server.ask("runs", server.runs("f")[0]["run_id"])
        return server, done, record

    def lacks(self, control):
        """Whether `millrace check` says that this host cannot enforce it."""
        done = subprocess.run([harness.BIN, "check"], capture_output=True, text=True, check=False)
        return dict(re.findall(r"^(\w+) +(\w+)", done.stdout, re.MULTILINE))[control] == "missing"

    def assert_alive(self, server):
        server.apply({"name": "fine", "script": "echo fine\n"})
        self.assertEqual(server.cli("run", "fine").stdout, b"fine\n")

    def test_exit_code(self):
        server, done, record = self.run_once("echo out; echo err >&2; exit 3\n", 3)
        self.assertEqual(done.stdout, b"out\n")
        self.assertIn(b"exit code 3", done.stderr)
        self.assertEqual((record["outcome"], record["exit_code"]), ("failed", 3))
        self.assertEqual([attempt["outcome"] for attempt in record["attempts"]], ["failed"])
        self.assertEqual(sorted(server.cli("logs", record["run_id"]).stdout.split()), [b"err", b"out"])

    def test_signal(self):
        script = "#!/usr/bin/python3\nimport ctypes\nctypes.string_at(0)\n"
        _, done, record = self.run_once(script, 128 + 11)
        self.assertEqual(record["signal"], 11)
        self.assertIn(b"signal 11", done.stderr)

    def test_every_attempt_is_recorded_before_the_dead_letter(self):
        server = self.start_server()
        marks = self.folder / "marks"
        marks.mkdir()
        marks.chmod(0o777)
        # Each of its attempts fails for a reason of its own.
        script = f"n=$(ls {marks} | wc -l)\nmkdir {marks}/$n\nexit $((40 + n))\n"
        server.apply({"name": "f", "script": script, "executor": "process", "input": ["in"], "retries": 2,
                      "retry": QUICK_RETRY})
        server.drop("in", "a", b"x")
        server.wait_idle()
        record = server.ask("runs", server.runs("f")[0]["run_id"])
        self.assertEqual((record["outcome"], record["failures"]), ("dead_lettered", 3))
        self.assertEqual([(attempt["outcome"], attempt["message"]) for attempt in record["attempts"]],
                         [("failed", f"exit code {code}") for code in (40, 41, 42)])
        self.assertEqual(record["reason"], "exit code 42")
        self.assertEqual(len(server.ask("redrive", "f", "--list")["dead_letters"]), 1)

        server.apply({"name": "f", "script": "exit 0\n", "input": ["in"]})
        self.assertEqual(server.ask("redrive", "f")["redriven"], 1)
        server.wait_idle()
        self.assertEqual([run["outcome"] for run in server.runs("f")], ["succeeded", "dead_lettered"])

    def test_permanent_exit_codes_are_not_tried_again(self):
        server = self.start_server()
        server.apply({"name": "f", "script": "exit 65\n", "input": ["in"], "retries": 5, "retry": QUICK_RETRY})
        server.drop("in", "a", b"x")
        server.wait_idle()
        self.assertEqual([(run["outcome"], run["failures"]) for run in server.runs("f")], [("dead_lettered", 1)])

    def test_timeout_ends_the_whole_tree(self):
        server, done, record = self.run_once("trap '' TERM\nsleep 1000 & sleep 1000\n", 128 + 9, timeout="300ms",
                                             grace="100ms")
        self.assertEqual(record["attempts"][0]["outcome"], "timed_out")
        self.assertIn(b"300ms", done.stderr)
        harness.until(lambda: not server.children("function"), "the function's processes end")
        self.assert_alive(server)

    def test_memory(self):
        script = "#!/usr/bin/python3\nx = bytearray(200 << 20)\nprint(len(x))\n"
        server, done, record = self.run_once(script, 128 + 9, memory="64Mi")
        if done.stdout and self.lacks("memory"):
            self.skipTest("`millrace check` says that memory limits cannot be enforced here")
        self.assertEqual(record["attempts"][0]["outcome"], "out_of_memory")
        self.assertIn(b"memory", done.stderr)
        self.assert_alive(server)

    def test_output_limit(self):
        script = 'head -c 20000000 /dev/zero >"$TMP_OUTPUT_DIR/big"; sleep 5\n'
        server, done, record = self.run_once(script, None, limits={"output": "1Mi"})
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(record["attempts"][0]["outcome"], "output_too_large")
        self.assertEqual(server.names("out"), set())
        self.assert_alive(server)

    def test_flood_on_stdout(self):
        server, done, record = self.run_once("yes | head -c 50000000\n", None, limits={"result": "1Mi", "log": "64Ki"})
        self.assertLessEqual(len(done.stdout), 1 << 20)
        self.assertLessEqual(len(record["log_tail"]), 64 << 10)
        self.assertEqual(record["log_bytes"], 50_000_000)
        self.assert_alive(server)

    def test_fork_bomb(self):
        server, _, record = self.run_once("f() { f | f & }; f; sleep 1; exit 7\n", None, timeout="3s",
                                          limits={"pids": 64}, memory="64Mi")
        self.assertIn(record["outcome"], ("failed", "succeeded"))
        harness.until(lambda: not server.children("function"), "the function's processes end")
        self.assert_alive(server)

    def test_background_processes_do_not_outlive_the_run(self):
        server, _, record = self.run_once("setsid sleep 1000 >/dev/null 2>&1 &\nexit 0\n", 0)
        self.assertEqual(record["outcome"], "succeeded")
        harness.until(lambda: not server.children("function"), "the function's processes end")

    def test_function_sees_nothing_of_the_host(self):
        script = ('ls -la /root /home 2>&1; cat /etc/shadow 2>&1; id -u; ls /proc | grep -c "^[0-9]"\n'
                  f'cat "{self.folder_hint()}"/*/data/admin-token 2>&1\nping -c1 -W1 127.0.0.1 2>&1\n:\n')
        server, done, _ = self.run_once(script, 0)
        self.assertNotIn(server.token().encode(), done.stdout)
        self.assertNotIn(b"root:$", done.stdout)

    def folder_hint(self):
        return "/var/tmp/millrace-e2e-*"

    def test_cancel(self):
        server = self.start_server()
        server.apply({"name": "f", "script": "sleep 1000\n", "retries": 0})
        run = server.cli("run", "f", "--async").stdout.decode().strip()
        harness.until(lambda: server.ask("runs", run).get("state") == "running", "the run goes on")
        server.cli("cancel", run)
        server.wait_idle()
        self.assertEqual(server.ask("runs", run)["outcome"], "cancelled")
        server.cli("wait", run, status=1)
        server.cli("cancel", run, status=5)

    def test_one_that_is_cancelled_while_it_waits_never_runs(self):
        server = self.start_server()
        server.apply({"name": "f", "script": "sleep 1000\n", "concurrency": 1})

        def start():
            return server.cli("run", "f", "--async").stdout.decode().strip()

        def runs(run):
            return server.ask("runs", run).get("state") == "running"
        first = start()
        harness.until(lambda: runs(first), "the first one runs")
        second = start()
        server.cli("cancel", second)
        self.assertEqual(server.ask("runs", second)["outcome"], "cancelled", "before its turn comes")
        counted = b'millrace_runs_total{function="f",outcome="cancelled"} 1'
        self.assertIn(counted, server.request("GET", "/metrics").body)
        server.kill()
        server.start()
        harness.until(lambda: runs(first), "it is tried again")
        server.cli("cancel", first)
        server.wait_idle()
        ended = server.ask("runs", second)
        self.assertEqual((ended["outcome"], ended["attempts"]), ("cancelled", []))

    def test_redrive_of_what_is_no_dead_letter(self):
        server = self.start_server()
        server.apply({"name": "f", "script": "true\n"})
        self.assertIn(b"none of these is a dead letter", server.cli("redrive", "f", "zzz", status=5).stderr)

    def test_function_that_is_not_ready_is_in_nobodys_way(self):
        server = self.start_server()
        server.apply({"name": "f", "script": harness.COPY, "input": ["in"], "output": ["closed"]})
        server.stop()
        shutil.rmtree(server.bucket("closed"))
        server.bucket("closed").mkdir(mode=0o755)  # by root: not for the daemon to write
        server.start()
        server.wait_idle()
        self.assertEqual([row["name"] for row in server.ask("top", "--once")["functions"]], ["f"])


if __name__ == "__main__":
    harness.main()
