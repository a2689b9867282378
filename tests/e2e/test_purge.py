"""Events that are thrown away because somebody asks for it, on the embedded log and on NATS."""

import harness
from nats_server import OnNats

FAIL = {"name": "fail", "topics": ["orders"], "retries": 0, "output": ["kept"], "script": "#!/bin/sh\nexit 70\n"}
KEEP = {"name": "keep", "topics": ["orders"], "output": ["kept"], "concurrency": 1,
        "script": "#!/bin/sh\nif grep -q stay; then sleep 600; fi\necho done >\"$TMP_OUTPUT_DIR/$MILLRACE_RUN_ID\"\n"}


class Purge(harness.TestCase):
    def start(self):
        return self.start_server()

    def row(self, server, group):
        row, = [row for row in server.ask("topics")["topics"] if (row["name"], row["group"]) == ("orders", group)]
        return row

    def counts(self, server, group):
        row = self.row(server, group)
        return row["pending"] + row["delayed"] + row["blocked"], row["in_flight"], row["dead"]

    def test_nothing_goes_without_yes_and_only_what_was_named_goes(self):
        server = self.start()
        server.apply(KEEP)
        server.apply(FAIL)
        server.cli("publish", "orders", "stay")
        for number in range(3):
            server.cli("publish", "orders", f"order {number}")
        harness.until(lambda: self.counts(server, "fn.fail") == (0, 0, 4), "its dead letters")
        harness.until(lambda: self.counts(server, "fn.keep") == (3, 1, 0), "the first runs, the others wait")

        asked = server.cli("purge", "keep", status=2).stderr.decode()
        self.assertIn("4 events: 3 waiting, 1 being worked on (topic 'orders', reader 'fn.keep')", asked)
        self.assertIn("--yes", asked)
        self.assertEqual(self.counts(server, "fn.keep"), (3, 1, 0))

        purged = server.cli("purge", "keep", "--yes")
        self.assertEqual(purged.stdout.decode(), "thrown away: 4 events: 3 waiting, 1 being worked on\n")
        harness.until(lambda: self.counts(server, "fn.keep") == (0, 0, 0), "nothing is left")
        self.assertEqual(self.counts(server, "fn.fail"), (0, 0, 4))
        server.wait_idle()
        self.assertEqual(server.names("kept"), set())
        server.cli("publish", "orders", "later")
        server.wait_idle()
        self.assertEqual(len(server.names("kept")), 1)

        answer = server.ask("purge", "orders", "--group", "fn.fail", "--yes")
        self.assertEqual(answer, {"purged": 5, "waiting": 0, "in_flight": 0, "dead": 5})
        self.assertEqual(server.ask("purge", "orders", "--yes")["purged"], 0)

    def test_what_waits_for_a_function_goes_from_its_runs(self):
        server = self.start()
        server.apply({"name": "slow", "input": ["in"], "output": ["kept"], "concurrency": 1,
                      "script": "#!/bin/sh\nsleep 600\n"})
        for number in range(3):
            server.drop("in", f"file-{number}", b"x")
        harness.until(lambda: sorted(self.states(server)) == ["queued", "queued", "running"], "one runs, two wait")
        self.assertEqual(server.ask("purge", "slow", "--yes")["purged"], 3)
        harness.until(lambda: self.states(server) == [], "none waits any more, and none comes back")
        server.wait_idle()
        self.assertEqual(self.states(server), [])
        server.cli("purge", "nobody", "--yes", status=5)
        self.assertIn("has no reader called 'x'", server.cli("purge", "slow", "--group", "x", status=5).stderr.decode())

    def test_of_a_function_that_reads_several_topics_the_others_runs_stay(self):
        server = self.start()
        server.apply({"name": "slow", "topics": ["orders", "returns"], "retries": 9, "retry": {"base": "1h", "cap": "1h"},
                      "script": "#!/bin/sh\nexit 1\n"})
        for topic in "orders", "returns":
            server.cli("publish", topic, "x")
        harness.until(lambda: self.states(server) == ["waiting_retry"] * 2, "both wait for their next attempt")
        self.assertEqual(server.ask("purge", "orders", "--yes")["purged"], 1)
        self.assertEqual(self.states(server), ["waiting_retry"])

    def states(self, server):
        return [run["state"] for run in server.ask("runs", "-f", "slow")["runs"] if run["state"] != "done"]


class PurgeOnNats(OnNats, Purge):
    pass


if __name__ == "__main__":
    harness.main()
