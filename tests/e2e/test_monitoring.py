"""What operators and their tools see: health, the queues, and what a run is doing or waits for."""
import os
import re
import shutil

import harness

SLEEP = "sleep 1000\n"
QUICK_RETRY = {"base": "1ms", "cap": "2ms"}


class Monitoring(harness.TestCase):
    def start(self, server, function, *arguments):
        return server.cli("run", function, "--async", *arguments).stdout.decode().strip()

    def state(self, server, run):
        return server.ask("runs", run).get("state")

    def until_running(self, server, run):
        harness.until(lambda: self.state(server, run) == "running", "it runs")

    def queue(self, server, **labels):
        """The value of `millrace_queue_messages` with these labels."""
        wanted = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
        text = server.request("GET", "/metrics").body.decode()
        found = re.search(r"^millrace_queue_messages\{" + re.escape(wanted) + r"\} (\S+)$", text, re.MULTILINE)
        return found and float(found[1])

    def test_health(self):
        server = self.start_server()
        for path, status in (("/health", "ok"), ("/health/live", "alive")):
            answer = server.request("GET", path, token=None)
            self.assertEqual((answer.status, answer.json()), (200, {"status": status}))

    def test_metrics_tell_what_waits_and_what_died(self):
        server = self.start_server()
        server.apply({"name": "busy", "script": SLEEP, "concurrency": 1},
                     {"name": "bad", "script": "exit 64\n", "retries": 0})
        self.until_running(server, self.start(server, "busy"))
        for _ in range(3):
            self.start(server, "busy")
        self.start(server, "bad")
        of_busy = {"topic": "fn.busy", "group": "workers", "function": "busy"}
        harness.until(lambda: self.queue(server, state="in_flight", **of_busy) == 1, "one is in work")
        self.assertEqual(self.queue(server, state="pending", **of_busy), 3)
        of_bad = {"topic": "fn.bad", "group": "workers", "function": "bad"}
        harness.until(lambda: self.queue(server, state="dead", **of_bad) == 1, "the dead letter is counted")
        self.assertIn('millrace_queue_oldest_seconds{function="busy"', server.request("GET", "/metrics").body.decode())
        server.cli("purge", "busy", "--yes")
        harness.until(lambda: self.queue(server, state="pending", **of_busy) == 0, "nothing waits any more")

    def test_why_of_what_goes_on(self):
        server = self.start_server()
        marks = self.folder / "marks"
        marks.mkdir()
        marks.chmod(0o777)
        script = f"mkdir {marks}/once && exit 3\nsleep 1000\n"
        server.apply({"name": "f", "script": script, "executor": "process", "concurrency": 1, "retry": QUICK_RETRY,
                      "memory": "64Mi"})
        first = self.start(server, "f")
        def second_runs():
            live = server.ask("why", first)["live"]
            return live if live and (live[0]["state"], live[0].get("doing", {}).get("attempt")) == ("running", 2) else None
        run, = harness.until(second_runs, "its second attempt runs")
        self.assertEqual(run["doing"]["limits"]["memory_bytes"], 64 << 20)
        self.assertEqual([attempt["message"] for attempt in run["attempts"]], ["exit code 3"])
        told = server.cli("why", first).stdout.decode()
        self.assertIn(f"f running {first}", told)
        self.assertIn("attempt 1 failed: exit code 3", told)
        self.assertRegex(told, "attempt 2 on .* memory 64Mi")

        second = self.start(server, "f")
        told = server.cli("why", second).stdout.decode()
        self.assertIn("waits for a slot: all 1 of its function are in use (concurrency)", told)
        delayed = self.start(server, "f", "--delay", "1h")
        self.assertRegex(server.cli("why", delayed).stdout.decode(), "waits for its delay: (1h|59m)")
        for run_id in (second, delayed, first):
            server.cli("cancel", run_id)
        harness.until(lambda: server.ask("runs", first).get("outcome") == "cancelled", "its end is on record")
        answer = server.ask("why", first)
        self.assertEqual(answer["live"], [])
        self.assertEqual([attempt["message"] for attempt in answer["chain"][0]["attempts"]][:1], ["exit code 3"])

    def test_what_was_queued_before_a_restart_is_listed_and_can_be_cancelled(self):
        server = self.start_server()
        server.apply({"name": "f", "script": SLEEP, "concurrency": 1})
        self.until_running(server, self.start(server, "f"))
        waiting = {self.start(server, "f") for _ in range(3)}
        delayed = self.start(server, "f", "--delay", "1h")
        cancelled_before = waiting.pop()
        server.cli("cancel", cancelled_before)
        server.restart()

        def listed():
            return {run["run_id"] for run in server.ask("runs")["runs"] if "outcome" not in run}
        harness.until(lambda: waiting | {delayed} <= listed(), "they are listed")
        harness.until(lambda: cancelled_before not in listed(), "its end is on record")
        self.assertIn("waits for its delay", server.cli("why", delayed).stdout.decode())
        for run in (*waiting, delayed):
            if self.state(server, run) != "running":
                server.cli("cancel", run)
                self.assertEqual(server.ask("runs", run)["outcome"], "cancelled")
        for run in listed():
            server.cli("cancel", run)
        harness.until(lambda: not listed(), "nothing is left")
        server.cli("purge", "f", "--yes")
        server.wait_idle()
        self.assertEqual({run["outcome"] for run in server.runs("f")}, {"cancelled"})

    def test_what_comes_for_a_function_that_is_not_ready_runs_when_it_is(self):
        server = self.start_server()
        server.apply({"name": "f", "script": harness.COPY, "input": ["in"], "output": ["out"], "rescan": "24h"})
        server.stop()
        out = server.bucket("out")
        shutil.rmtree(out)
        out.mkdir(mode=0o755)  # by root: not for the daemon to write
        server.start()
        self.assertIn("function not ready", server.log())
        server.drop("in", "dropped", b"one")
        self.assertEqual(server.request("PUT", "/api/v1/buckets/in/objects/put", b"two").status, 201)
        harness.until(lambda: len(server.ask("runs")["runs"]) == 2, "both are noticed, and wait")
        told = server.cli("why", server.ask("runs")["runs"][0]["run_id"]).stdout.decode()
        self.assertIn("waits for its function, which is not ready", told)
        owner = server.bucket("in").stat()
        os.chown(out, owner.st_uid, owner.st_gid)
        harness.until(lambda: server.names("out") == {b"dropped", b"put"}, "both ran")


if __name__ == "__main__":
    harness.main()
