"""The disk runs full: publishers are told so, nothing that was confirmed is lost, and room is all it takes to go on."""
import errno

from chain import harness
import power_loss

DISK_BYTES = 60 << 20
SEGMENT = "4Mi"
NEWS_BYTES = 256 << 10
NO_SPACE = (503, 507)


class DiskFull(power_loss.TestCase):
    def fill(self, path):
        with open(path, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(64 << 10))
            except OSError as error:
                self.assertEqual(error.errno, errno.ENOSPC)

    def publish(self, world):
        return world.ask("POST", "/api/v1/topics/news/events", b"n" * NEWS_BYTES)

    def pending_news(self, world):
        news, = [topic for topic in world.server.ask("topics")["topics"] if topic["name"] == "news"]
        return news["pending"]

    def assert_no_space(self, answer):
        self.assertIn(answer.status, NO_SPACE, answer.body)
        self.assertRegex(answer.body.decode(), "(?i)space|full")

    def test_refuses_and_recovers_without_a_restart(self):
        disk = self.make_volume(DISK_BYTES)
        world = self.make_chain({"--log-segment": SEGMENT}, data=disk.path / "data")
        world.writes_ends = False
        server = world.server
        server.start()
        world.apply()
        daemon = server.children("daemon")
        for number in range(3):
            self.assertTrue(world.put(f"early-{number}"))
        server.wait_idle()
        filler = disk.path / "filler"
        self.fill(filler)
        news = 0
        while (answer := self.publish(world)).status // 100 == 2:
            news += 1
        self.assert_no_space(answer)
        print("confirmed:", news, "then:", answer.status, answer.body.decode(), flush=True)

        # Objects and calls are refused likewise, or stand. What the log had prepared in vain has made room again.
        more = disk.path / "more"
        self.fill(more)
        self.assert_no_space(world.ask("PUT", "/api/v1/buckets/in/objects/full", b"x" * (1 << 20)))
        self.assertEqual(server.names("in"), {b"early-%d" % number for number in range(3)}, "half an object")
        while world.call(b"x" * 4096):
            pass
        self.assertTrue(server.is_healthy())
        self.assertEqual(self.pending_news(world), news)

        filler.unlink()
        more.unlink()
        harness.until(lambda: self.publish(world).status // 100 == 2, "events are taken again")
        news += 1
        for number in range(3):
            harness.until(lambda number=number: world.put(f"late-{number}"), "objects are taken again")
        self.assertEqual(server.children("daemon"), daemon, "it went on by itself")
        self.settle(world)
        by_input = world.check()
        self.assertEqual(self.pending_news(world), news)
        server.restart()
        server.wait_idle()
        self.assertEqual(world.check().keys(), by_input.keys())
        self.assertEqual(self.pending_news(world), news)
        server.stop()
        world.check_log()


if __name__ == "__main__":
    power_loss.main()
