"""What was answered 2xx outlives everything, and one set of outputs stands however often a run began."""
import http.client
import json
import os
import signal

import harness

ROUNDS = 3
LEASE_LONG = "10m"  # far beyond every hang guard: nothing below waits for one to run out
QUICK_RETRY = {"base": "1ms", "cap": "1ms"}
SLOW_COPY = '#!/bin/sh\nsleep 3\ncp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"\n'
# Each attempt under a name of its own, so that a second set would be seen.
SLOW_COPY_ANEW = '#!/bin/sh\nsleep 3\ncp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/$(mktemp -u XXXXXX)"\n'
# Waits for ever in the first attempt, which leaves a mark in a folder of the test.
FIRST_HANGS = ('#!/bin/sh\nif mkdir "{mark}" 2>/dev/null; then sleep 1000; fi\n'
               'cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"\n')


class Answered(harness.TestCase):
    def test_events_outlive_everything(self):
        server = self.start_server()
        server.apply({"name": "copy", "script": harness.COPY, "input": ["in"], "output": ["out"]})
        invoked = set()
        for number in range(ROUNDS):
            stored = server.request("PUT", f"/api/v1/buckets/in/objects/{number}", b"%d" % number)
            self.assertEqual(stored.status // 100, 2, stored.body)
            published = server.request("POST", "/api/v1/topics/news/events", b"news %d" % number)
            self.assertEqual(published.status // 100, 2, published.body)
            answer = server.request("POST", "/api/v1/functions/copy/invoke?async=true", b"call %d" % number)
            self.assertEqual(answer.status, 202, answer.body)
            invoked.add(answer.json()["run_id"])
            server.kill()
            server.start()
        server.wait_idle()
        for number in range(ROUNDS):
            self.assert_one_output(server, "out", str(number), b"%d" % number)
        runs = server.runs("copy")
        self.assertEqual(sorted(run["input"]["key"] for run in runs if "input" in run), [str(n) for n in range(ROUNDS)])
        self.assertEqual({run["run_id"] for run in runs if "input" not in run}, invoked)
        self.assertEqual({run["outcome"] for run in runs}, {"succeeded"})
        news, = [topic for topic in server.ask("topics")["topics"] if topic["name"] == "news"]
        self.assertEqual(news["pending"], ROUNDS)

    def test_an_object_is_whole_or_not_there(self):
        server = self.start_server()
        server.apply({"name": "copy", "script": harness.COPY, "input": ["in"], "output": ["out"]})
        connection = http.client.HTTPConnection(*server.address(), timeout=60)
        connection.putrequest("PUT", "/api/v1/buckets/in/objects/half")
        connection.putheader("Authorization", "Bearer " + server.token())
        connection.putheader("Content-Length", str(1 << 20))
        connection.endheaders(b"x" * (1 << 19))
        server.kill()
        connection.close()
        server.start()
        server.wait_idle()
        self.assertEqual(server.names("in"), set())
        self.assertEqual(server.runs(), [])


class Leases(harness.TestCase):
    def start_hanging(self):
        """The first attempt hangs, and its lease would run out long after the test."""
        server = self.start_server({"--lease": LEASE_LONG})
        server.apply({"name": "f", "executor": "process", "retry": QUICK_RETRY, "input": ["in"], "output": ["out"],
                      "script": FIRST_HANGS.format(mark=self.open_folder() / "mark")})
        server.drop("in", "a", b"x")
        harness.until(lambda: (self.open_folder() / "mark").is_dir(), "the first attempt hangs")
        return server

    def open_folder(self):
        folder = self.folder / "open"
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)
        return folder

    def assert_done_by_a_second_attempt(self, server, first):
        server.wait_idle()
        self.assert_one_output(server, "out", "a", b"x")
        run, = server.runs("f")
        self.assertEqual([attempt.get("outcome") for attempt in server.ask("runs", run["run_id"])["attempts"]],
                         [first, "succeeded"])

    def test_a_run_may_be_longer_than_its_lease(self):
        server = self.start_server({"--lease": "500ms"})
        server.apply({"name": "slow", "script": SLOW_COPY, "input": ["in"], "output": ["out"], "retries": 0})
        server.drop("in", "a", b"x")
        server.wait_idle()
        run, = server.runs("slow")
        record = server.ask("runs", run["run_id"])
        self.assertEqual((record["outcome"], record["losses"], len(record["attempts"])), ("succeeded", 0, 1))

    def test_a_killed_function_gives_its_lease_back(self):
        server = self.start_hanging()
        for pid in server.children("function"):
            harness.kill(pid)
        self.assert_done_by_a_second_attempt(server, "failed")

    def test_a_killed_launcher_gives_its_leases_back(self):
        server = self.start_hanging()
        for pid in server.children("launcher"):
            harness.kill(pid)
        self.assert_done_by_a_second_attempt(server, "lost")

    def test_a_killed_daemon_gives_its_leases_back(self):
        server = self.start_hanging()
        for pid in server.children("daemon"):
            harness.kill(pid)
        harness.until(server.is_healthy, "the daemon is back")
        self.assert_done_by_a_second_attempt(server, "lost")

    def test_a_paused_worker_adds_no_second_set(self):
        server = self.start_server({"--lease": "500ms"})
        server.apply({"name": "first", "script": SLOW_COPY_ANEW, "input": ["in"], "output": ["mid"]},
                     {"name": "second", "script": harness.COPY, "input": ["mid"], "output": ["out"]})
        server.drop("in", "a", b"x")
        harness.until(lambda: server.children("function"), "the function runs")
        daemon, = server.children("daemon")
        os.kill(daemon, signal.SIGSTOP)
        try:
            harness.until(lambda: not server.children("function"), "the function ends, long after its lease")
        finally:
            os.kill(daemon, signal.SIGCONT)
        server.wait_idle()
        self.assertEqual(server.children("daemon"), [daemon])
        for function in ("first", "second"):
            run, = server.runs(function)
            self.assertEqual(run["outcome"], "succeeded")
            attempts = server.ask("runs", run["run_id"])["attempts"]
            self.assertEqual([attempt["outcome"] for attempt in attempts].count("succeeded"), 1, attempts)
            self.assertEqual(len(attempts), 1 + run["losses"], attempts)
        output, = server.names("mid")
        self.assertEqual(server.names("out"), {output})
        self.assert_one_output(server, "out", output, b"x")


class Kept(harness.TestCase):
    def test_records_outlive_function_and_worker(self):
        server = self.start_server()
        server.apply({"name": "f", "script": "echo told; exit 9\n", "input": ["in"], "retries": 1,
                      "retry": QUICK_RETRY})
        server.drop("in", "a", b"x")
        server.wait_idle()
        run, = server.runs("f")
        before = server.ask("runs", run["run_id"])
        logs = server.cli("logs", run["run_id"]).stdout
        self.assertEqual((before["outcome"], before["exit_code"], len(before["attempts"])), ("dead_lettered", 9, 2))
        for attempt in before["attempts"]:
            self.assertEqual((attempt["outcome"], attempt["exit_code"]), ("failed", 9), json.dumps(attempt))
            self.assertGreater(attempt["usage"]["wall_us"], 0)
        server.cli("rm", "f")
        server.kill()
        server.start()
        self.assertEqual(server.ask("runs", run["run_id"]), before)
        self.assertEqual(server.cli("logs", run["run_id"]).stdout, logs)


if __name__ == "__main__":
    harness.main()
