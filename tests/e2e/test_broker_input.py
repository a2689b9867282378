"""What the embedded broker does not take, and what it says at the API and the start: nothing is guessed or dropped."""
import shutil

import harness


class BrokerInput(harness.TestCase):
    def publish(self, server, topic, body=b"hello", headers=None, query=""):
        return server.request("POST", f"/api/v1/topics/{topic}/events{query}", body, headers)

    def assert_refused(self, answer, status, *expected):
        self.assertEqual(answer.status, status, answer.body)
        for text in expected:
            self.assertIn(text, answer.body.decode())

    def test_names_sizes_delays_and_ids(self):
        server = self.start_server()
        for name in ("..", ".hidden", "a%0Ab", "A", "a%20b", "a" * 201):
            self.assert_refused(self.publish(server, name), 400, "is not a topic name")
        self.assert_refused(self.publish(server, "a%2Fb"), 400, "is not a topic name")
        self.assert_refused(self.publish(server, "news", query="?delay=-1s"), 400, "delay")
        self.assert_refused(self.publish(server, "news", b"x" * ((1 << 20) + 1)), 413)
        self.assertEqual(self.publish(server, "news", headers={"ce-id": "1", "ce-source": "test"}).status, 202)
        repeat = self.publish(server, "news", headers={"ce-id": "1", "ce-source": "test"})
        self.assertTrue(repeat.json()["duplicate"])
        self.assert_refused(self.publish(server, "news", b"other", {"ce-id": "1", "ce-source": "test"}), 409,
                            "was published before with other content")
        self.assertEqual(self.publish(server, "news", headers={"ce-subject": "s" * (1 << 20)}).status, 431)
        self.assertEqual([topic["name"] for topic in server.ask("topics")["topics"]], ["news"])
        self.assertEqual(server.ask("topics")["topics"][0]["pending"], 1)

    def test_full_topic_refuses_and_takes_again(self):
        server = self.start_server({"--topic-messages-max": "3"})
        server.apply({"name": "f", "script": "cat\n"})
        for number in range(3):
            self.assertEqual(self.publish(server, "news", b"%d" % number).status, 202)
        self.assert_refused(self.publish(server, "news", b"3"), 507, "'news' holds 3 messages")
        self.assertIn("millrace_broker_refused_total 1", server.request("GET", "/metrics").body.decode())
        self.assertEqual(self.publish(server, "others").status, 202)
        self.assertEqual(server.cli("run", "f", stdin=b"hi").stdout, b"hi")

    def test_log_that_is_gone_is_said_loudly(self):
        server = self.start_server()
        server.apply({"name": "f", "script": "echo hi\n"})
        server.restart()
        self.assertNotIn("does not know the work topics", server.log())
        self.assertEqual(server.stop(), 0)
        shutil.rmtree(server.data / "log")
        server.start()
        self.assertIn("does not know the work topics", server.log())
        self.assertEqual(server.cli("run", "f").stdout, b"hi\n")

    def test_directory_of_the_log_with_other_files(self):
        server = self.start_server()
        self.assertEqual(self.publish(server, "news").status, 202)
        self.assertEqual(server.stop(), 0)
        notes = server.data / "log" / "notes.txt"
        notes.write_bytes(b"mine")
        server.start()
        self.assertIn("notes.txt", server.log())
        self.assertEqual(server.ask("topics")["topics"][0]["pending"], 1)
        self.assertEqual(server.stop(), 0)
        for path in (server.data / "log").iterdir():
            if path != notes:
                path.unlink()
        self.assert_does_not_start(server, "there is no log in", "notes.txt")
        self.assertEqual([path.name for path in (server.data / "log").iterdir() if path.name != "lock"], ["notes.txt"])
        self.assertEqual(notes.read_bytes(), b"mine")


if __name__ == "__main__":
    harness.main()
