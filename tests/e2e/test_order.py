"""When an event's turn is: those of one key one after the other, later ones later, important ones sooner. All of it on the
embedded log and on NATS."""
import harness
from nats_server import OnNats

# Everything becomes one name, so that the next function gets four events of one key.
ONE_NAME = '#!/bin/sh\ncp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/same"\n'
# Fails on one of them, as often as it is tried.
FAILS_ON_B = '#!/bin/sh\nsleep 0.2\n[ "$(cat "$INPUT_FILE_PATH")" != b ]\n'


class Order(harness.TestCase):
    def start(self):
        return self.start_server()

    def spans(self, server, function):
        """First start, last end and number of attempts of every run, by start."""
        spans = []
        for run in server.runs(function):
            attempts = server.ask("runs", run["run_id"])["attempts"]
            spans.append((min(one["started_at"] for one in attempts), max(one["ended_at"] for one in attempts),
                          len(attempts)))
        return sorted(spans)

    def test_events_of_a_key_run_one_after_the_other(self):
        server = self.start()
        server.apply({"name": "f", "script": ONE_NAME, "input": ["in"], "output": ["mid"], "cpu": "100m"},
                     {"name": "g", "script": FAILS_ON_B, "input": ["mid"], "order": "key", "cpu": "100m", "retries": 2,
                      "retry": {"base": "300ms", "cap": "300ms"}})
        for name in ("a", "b", "c", "d"):
            server.drop("in", name, name.encode())
        server.wait_idle()
        self.assertEqual(sorted(run["outcome"] for run in server.runs("g")), ["dead_lettered"] + ["succeeded"] * 3)
        spans = self.spans(server, "g")
        self.assertEqual(sorted(attempts for _, _, attempts in spans), [1, 1, 1, 3])
        for (_, end, _), (start, _, _) in zip(spans, spans[1:]):
            self.assertLessEqual(end, start, "the next begins when the one before is done, its retries included")  # in ms

    def test_without_order_they_run_beside_each_other(self):
        server = self.start()
        server.apply({"name": "g", "script": "sleep 2\n", "input": ["in"], "cpu": "100m"})
        for name in ("a", "b", "c"):
            server.drop("in", name, name.encode())
        server.wait_idle()
        spans = self.spans(server, "g")
        self.assertTrue(any(start < end for (_, end, _), (start, _, _) in zip(spans, spans[1:])), spans)

    def test_a_delay(self):
        server = self.start()
        server.apply({"name": "f", "script": "true\n"})
        server.cli("run", "f", "--async", "--delay", "1h")
        server.ask("publish", "news", "--text", "x", "--delay", "1h")
        topics = {topic["name"]: topic for topic in server.ask("topics")["topics"]}
        self.assertEqual([(topics[name]["pending"], topics[name]["delayed"]) for name in ("fn.f", "news")],
                         [(0, 1), (1, 0)], "of a topic that nobody reads, all that is there")
        self.assertEqual(server.runs("f"), [])
        run = server.cli("run", "f", "--async", "--delay", "300ms").stdout.decode().strip()
        server.cli("wait", run)

    def test_a_priority_is_taken(self):
        server = self.start()
        server.apply({"name": "f", "script": "true\n"})
        for priority in ("low", "normal", "high"):
            server.cli("wait", server.cli("run", "f", "--async", "--priority", priority).stdout.decode().strip())
            server.cli("publish", "news", "--text", "x", "--priority", priority)

    def test_important_ones_come_sooner(self):
        server = self.start()
        server.apply({"name": "f", "script": "sleep $(cat)\n", "concurrency": 1})

        def run(seconds, priority):
            path = f"/api/v1/functions/f/invoke?async&priority={priority}"
            return server.request("POST", path, seconds).json()["run_id"]
        first = run(b"1000", "normal")
        runs = {priority: [run(b"0", priority) for _ in range(6)] for priority in ("low", "high")}
        server.cli("cancel", first)  # all of them are there now
        server.wait_idle()
        others = [run for run in server.runs("f") if run["run_id"] != first]
        order = [run["run_id"] for run in sorted(others, key=lambda run: run["started_at"])]
        places = {priority: sum(map(order.index, ids)) for priority, ids in runs.items()}
        self.assertLess(places["high"], places["low"], "although they came later")

    def test_wrong_delays_and_priorities(self):
        server = self.start()
        server.apply({"name": "f", "script": "true\n"})
        for option, value, message in (("--delay", "-1s", b"'delay'"), ("--delay", "5", b"'delay'"),
                                       ("--delay", "3000d", b"delay"), ("--priority", "urgent", b"low, normal or high")):
            with self.subTest(option + value):
                self.assertIn(message, server.cli("run", "f", "--async", f"{option}={value}", status=2).stderr)
                self.assertIn(message, server.cli("publish", "news", "--text", "x", f"{option}={value}", status=2).stderr)
                query = f"{option[2:]}={value}"
                for path in (f"/api/v1/functions/f/invoke?async&{query}", f"/api/v1/topics/news/events?{query}"):
                    self.assertEqual(server.request("POST", path, b"x").status, 400, path)
        server.cli("run", "f", "--delay", "1s", status=2)
        self.assertEqual(server.request("POST", "/api/v1/functions/f/invoke?delay=1s", b"x").status, 400)
        server.wait_idle()
        self.assertEqual(server.runs("f"), [])


class OrderOnNats(OnNats, Order):
    pass


if __name__ == "__main__":
    harness.main()
