"""What can be watched while it goes on: runs, a run's log, how busy the functions are."""
import json
import os
import pty
import subprocess

import harness


class Watching(harness.TestCase):
    def watch(self, server, *arguments):
        """A client that goes on until it is told to stop; what it has said so far."""
        environment = os.environ | {"MILLRACE_DATA": str(server.data)}
        path = self.folder / "-".join(("watch", *arguments))
        with open(path, "wb") as out:
            process = subprocess.Popen([harness.BIN, *arguments], stdout=out, stderr=out, env=environment,
                                       preexec_fn=harness.die_with_parent)
        self.addCleanup(lambda: (process.kill(), process.wait()))
        return process, path.read_bytes

    def hold(self, server, function="f", seconds=1000):
        """A run that says something and goes on."""
        server.apply({"name": function, "script": f"echo first; echo more >&2; sleep {seconds}\n", "retries": 0})
        return server.cli("run", function, "--async").stdout.decode().strip()

    def test_runs_as_they_go(self):
        server = self.start_server()
        server.apply({"name": "f", "script": "exit 3\n", "input": ["in"], "retries": 0},
                     {"name": "g", "script": "exit 0\n", "input": ["in"]})
        _, all_of_it = self.watch(server, "runs", "--follow", "-o", "json")
        _, of_f = self.watch(server, "runs", "--follow", "-f", "f")
        readers = lambda: b"millrace_feed_readers 2" in server.request("GET", "/metrics").body
        harness.until(readers, "both watch")
        server.drop("in", "a", b"x")
        whole_lines = lambda: all_of_it().rpartition(b"\n")[0]
        harness.until(lambda: whole_lines().count(b'"outcome"') == 2, "both ends are told")
        told = [json.loads(line) for line in whole_lines().splitlines()]
        steps = [run["state"] for run in told if run["function"] == "g"]
        self.assertEqual([step for step in steps if step in ("queued", "running", "done")], ["queued", "running", "done"])
        ends = {run["function"]: run for run in told if "outcome" in run}
        self.assertEqual((ends["f"]["outcome"], ends["f"]["exit_code"], ends["f"]["key"]), ("dead_lettered", 3, "a"))
        self.assertGreater(ends["g"]["usage"]["wall_us"], 0)
        harness.until(lambda: b"dead_lettered" in of_f(), "the end is shown")
        self.assertIn(b"exit code 3", of_f())
        self.assertNotIn(b"  g  ", of_f())

    def test_a_log_as_it_is_written(self):
        server = self.start_server()
        run = self.hold(server)
        process, text = self.watch(server, "logs", "-f", run)
        harness.until(lambda: b"first" in text() and b"more" in text(), "the log is shown while the run goes on")
        self.assertIsNone(process.poll())
        server.cli("cancel", run)
        self.assertEqual(process.wait(60), 1, "the run did not succeed")
        # Of a run that is over: all of it, and its end.
        lines = [json.loads(line) for line in server.cli("logs", "-f", run, "-o", "json", status=1).stdout.splitlines()]
        self.assertEqual([line["event"] for line in lines], ["log", "end"])
        self.assertIn("first\n", lines[0]["text"])
        self.assertEqual(lines[1]["outcome"], "cancelled")
        self.assertIn(b"not known", server.cli("logs", "-f", "0" * 32, status=5).stderr)

    def test_a_log_over_several_attempts(self):
        server = self.start_server()
        server.apply({"name": "f", "script": "echo tried; exit 1\n", "retries": 2, "retry": {"base": "1s", "cap": "1s"},
                      "input": ["in"]})
        server.drop("in", "a", b"x")
        run = harness.until(lambda: [run["run_id"] for run in server.ask("runs")["runs"]], "the run is listed")[0]
        done = server.cli("logs", "-f", run, status=1)
        self.assertEqual(set(done.stdout.splitlines()), {b"tried"})
        self.assertLessEqual(done.stdout.count(b"tried"), 3)

    def test_clients_that_watch_are_bounded(self):
        server = self.start_server()
        streams = []
        for _ in range(100):
            connection = self.connect(server, "/api/v1/runs/events")
            streams.append(connection)
            self.assertEqual(connection.getresponse().status, 200)
        refused = server.request("GET", "/api/v1/runs/events")
        self.assertEqual((refused.status, refused.json()["error"]["code"]), (429, "resource_exhausted"))
        streams.pop().close()
        harness.until(lambda: self.opens(server), "a place that was left is free again")
        for connection in streams:
            connection.close()

    def connect(self, server, path):
        connection = harness.http.client.HTTPConnection(*server.address(), timeout=60)
        connection.request("GET", path, headers={"Authorization": "Bearer " + server.token()})
        self.addCleanup(connection.close)
        return connection

    def opens(self, server):
        connection = self.connect(server, "/api/v1/runs/events")
        return connection.getresponse().status == 200

    def test_top(self):
        server = self.start_server()
        server.apply({"name": "done", "script": "true\n"}, {"name": "idle", "script": "true\n"})
        server.cli("run", "done")
        run = self.hold(server, "held")
        harness.until(lambda: self.row(server, "held")["running"] == 1, "the run has started")
        row = self.row(server, "done")
        self.assertEqual((row["queued"], row["running"], row["ended"]), (0, 0, 1))
        self.assertGreater(row["wall_p99_us"], 0)
        self.assertGreater(row["rate_per_s"], 0)
        self.assertEqual(self.row(server, "idle")["ended"], 0)

        text = server.cli("top").stdout.decode()
        self.assertEqual([line.split()[0] for line in text.splitlines()[2:]], ["FUNCTION", "done", "held", "idle"])
        self.assertNotIn("\033", text)
        self.assertEqual(server.cli("top", "--once").stdout.decode().splitlines()[2], text.splitlines()[2])
        server.cli("top", "--interval", "1ms", status=2)
        server.cli("cancel", run)

    def row(self, server, function):
        return next(row for row in server.ask("top")["functions"] if row["name"] == function)

    def test_top_draws_itself_anew_on_a_terminal(self):
        server = self.start_server()
        server.apply({"name": "f", "script": "true\n"})
        ours, theirs = pty.openpty()
        process = subprocess.Popen([harness.BIN, "top", "--interval", "100ms"], stdout=theirs, stderr=theirs,
                                   env=os.environ | {"MILLRACE_DATA": str(server.data)},
                                   preexec_fn=harness.die_with_parent)
        os.close(theirs)
        shown = b""
        while shown.count(b"\033[H") < 3:
            shown += os.read(ours, 4096)
        process.kill()
        process.wait()
        os.close(ours)
        self.assertIn(b"FUNCTION", shown)


if __name__ == "__main__":
    harness.main()
