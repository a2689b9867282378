"""`millrace log` tells what is in the log of a stopped server, and whether it is whole, and changes nothing."""
import json

import harness


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Log(harness.TestCase):
    def stopped_with_news(self, count):
        server = self.start_server()
        for number in range(count):
            answer = server.request("POST", "/api/v1/topics/news/events", b"news %d " % number + b"x" * 500)
            self.assertEqual(answer.status // 100, 2, answer.body)
        self.assertEqual(server.stop(), 0)
        return server, server.data / "log"

    def look(self, server, command, folder, status):
        return json.loads(server.cli("log", command, folder, "-o", "json", status=status).stdout)

    def test_whole_log_is_shown(self):
        server, folder = self.stopped_with_news(5)
        before = contents(folder)
        self.assertEqual(self.look(server, "verify", folder, 0)["state"], "whole")
        found = self.look(server, "inspect", server.data, 0)  # the data directory will do
        news, = [topic for topic in found["topics"] if topic["name"] == "news"]
        self.assertEqual(news["messages"], 5)
        self.assertEqual([segment["state"] for segment in found["segments"]], ["active", "empty"])
        self.assertEqual(found["other_files"], [])
        self.assertIn(b"log-00000001", server.cli("log", "inspect", folder).stdout)
        self.assertEqual(contents(folder), before)
        server.start()
        self.assertEqual([topic["pending"] for topic in server.ask("topics")["topics"] if topic["name"] == "news"], [5])

    def test_running_server_is_left_alone(self):
        server = self.start_server()
        for command in ("inspect", "verify"):
            done = server.cli("log", command, server.data / "log", status=3)
            self.assertIn(b"in use by process", done.stderr)
            self.assertEqual(done.stdout, b"")
        self.assertTrue(server.is_healthy())

    def test_damage_is_located_and_a_torn_end_is_not_called_damage(self):
        server, folder = self.stopped_with_news(5)
        segment = folder / "log-00000001"
        whole = segment.read_bytes()

        flipped = bytearray(whole)
        at = whole.index(b"news 2 ")
        flipped[at + 20] ^= 1
        segment.write_bytes(flipped)
        damage = self.look(server, "verify", folder, 2)["damage"]
        self.assertEqual(damage["file"], "log-00000001")
        self.assertLess(damage["unreadable_from"], at)
        self.assertGreater(damage["unreadable_to"], at)
        self.assertEqual(damage["affected"], [{"topic": "news", "first": 2, "last": 2}])
        self.assertIn(b"topic news, messages from number 2 to 2", server.cli("log", "verify", folder, status=2).stdout)

        torn = bytearray(whole)
        at = whole.index(b"news 4 ")
        torn[at:] = bytes(len(whole) - at)
        segment.write_bytes(torn)
        found = self.look(server, "verify", folder, 1)
        self.assertEqual(found["torn"]["file"], "log-00000001")
        self.assertGreater(found["torn"]["bytes"], 500)
        server.start()
        self.assertEqual([topic["pending"] for topic in server.ask("topics")["topics"] if topic["name"] == "news"], [4])

    def test_no_log_is_no_whole_log(self):
        server, _ = self.stopped_with_news(1)
        empty = self.folder / "empty"
        empty.mkdir()
        self.assertIn(b"there is no log", server.cli("log", "verify", empty, status=3).stderr)
        server.cli("log", "verify", self.folder / "nowhere", status=3)
        server.cli("log", "verify", status=2)
        self.assertIn(b"Exit codes", server.cli("log", "verify", "--help").stdout)


if __name__ == "__main__":
    harness.main()
