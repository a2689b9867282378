"""Events, topics and attributes that cannot be, as a client meets them: a clear message, the right exit code."""
import http.client
import socket

import harness

MEBIBYTE = 1 << 20


class BadEvents(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.server = self.start_server()

    def tearDown(self):
        self.assertTrue(self.server.is_healthy())

    def refused(self, method, path, status, *words, body=None):
        answer = self.server.request(method, path, body)
        self.assertEqual(answer.status, status, answer.body)
        for word in words:
            self.assertIn(word, answer.json()["error"]["message"])

    def test_topic_names(self):
        for name in ("a/b", "../escape", "a\nb", "Upper", " ", ".hidden", "x" * 201):
            with self.subTest(name):
                self.assertIn(b"topic", self.server.cli("publish", name, "--text", "x", status=2).stderr)
        self.refused("POST", "/api/v1/topics/fn.f/events", 400, "work topic", body=b"x")
        self.assertEqual(self.server.ask("topics")["topics"], [])

    def test_unknown_topics(self):
        self.refused("GET", "/api/v1/topics/none/dead-letters", 404, "none")
        self.refused("POST", "/api/v1/topics/none/redrive", 404, "none", body=b"")
        for arguments in (("none",), ("none", "--list")):
            self.assertIn(b"'none'", self.server.cli("redrive", *arguments, status=5).stderr)

    def test_attributes_that_are_too_large(self):
        events = "/api/v1/topics/news/events"
        connection = http.client.HTTPConnection(*self.server.address(), timeout=60)
        try:
            connection.request("POST", events, b"x", {"Authorization": "Bearer " + self.server.token(),
                                                      "ce-subject": "s" * MEBIBYTE})
            status = connection.getresponse().status
        except (ConnectionError, socket.timeout):
            status = 431  # answered and closed before all of it was sent
        finally:
            connection.close()
        self.assertEqual(status, 431)
        done = self.server.cli("publish", "news", "--text", "x", "--subject", "s" * 100_000, status=None)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.server.cli("publish", "news", "--text", "x", "--subject", "a\nb", status=2)
        self.assertEqual(self.server.ask("topics")["topics"], [])

    def test_a_body_that_is_too_large(self):
        body = b"x" * (MEBIBYTE + 1)
        self.server.apply({"name": "f", "script": "true\n"})
        for path in ("/api/v1/topics/news/events", "/api/v1/functions/f/invoke", "/api/v1/functions/f/invoke?async"):
            self.refused("POST", path, 413, "1048576", body=body)
        for arguments in (("publish", "news"), ("run", "f"), ("run", "f", "--async")):
            done = self.server.cli(*arguments, stdin=body, status=2)
            self.assertIn(b"millrace put", done.stderr)
        self.server.wait_idle()
        self.assertEqual(self.server.runs("f"), [])

    def test_an_id_with_other_bytes(self):
        self.server.cli("publish", "news", "--text", "one", "--id", "1")
        self.assertIn(b"1", self.server.cli("publish", "news", "--text", "two", "--id", "1", status=1).stderr)
        self.server.cli("publish", "news", "--text", "one", "--id", "1")
        self.assertEqual([topic["pending"] for topic in self.server.ask("topics")["topics"]], [1])

    def test_a_chain_that_is_too_long(self):
        """Nothing feeds itself here, and still nobody meant eighteen steps."""
        self.server.apply(*({"name": f"f{number}", "script": harness.COPY, "input": [f"b{number}"],
                             "output": [f"b{number + 1}"], "cpu": "100m"} for number in range(18)))
        self.server.drop("b0", "a", b"x")
        self.server.wait_idle()
        outcomes = [run["outcome"] for run in reversed(self.server.runs())]
        self.assertEqual(outcomes, ["succeeded"] * 17 + ["dead_lettered"])
        last, = [run for run in self.server.runs() if run["outcome"] == "dead_lettered"]
        self.assertEqual(last["function"], "f17")
        self.assertIn("hop limit", last["reason"])


if __name__ == "__main__":
    harness.main()
