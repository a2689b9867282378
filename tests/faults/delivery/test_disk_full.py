"""The disk runs full: publishers are told so, nothing that was confirmed is lost, and room is all it takes to go on."""
import errno

import chain
import harness
import power_loss

DISK_BYTES = 60 << 20
SEGMENT = "4Mi"
NEWS_BYTES = 256 << 10
NO_SPACE = (503, 507)
FREE_BYTES_MIN = 32 << 20  # which a start wants for its outputs

# Its first attempt writes until not a block is free, and fails.
GREEDY = """#!/bin/sh
if mkdir "{marks}/filled" 2>/dev/null; then
  cat /dev/zero >"$TMP_OUTPUT_DIR/all"
  while head -c 512 /dev/zero >>"$TMP_OUTPUT_DIR/rest"; do :; done
  exit 1
fi
cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"
"""


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
        self.assertEqual(server.request("GET", "/health/live", token=None).status, 200)
        harness.until(lambda: server.request("GET", "/health", token=None).status == 503, "it says that it is full")
        self.assertEqual(self.pending_news(world), news)

        filler.unlink()
        more.unlink()
        harness.until(server.is_healthy, "it takes work again")
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

    def test_what_a_failed_attempt_wrote_makes_room_again(self):
        disk = self.make_volume(DISK_BYTES)
        world = self.make_chain({"--log-segment": SEGMENT}, data=disk.path / "data")
        server = world.server
        server.start()
        server.apply({"name": "greedy", "script": GREEDY.format(marks=world.marks), "input": ["in"],
                      "output": ["out"], **chain.PATIENT, "executor": "process"})
        self.assertGreater(disk.free_bytes(), FREE_BYTES_MIN, "the disk is too small for this test")
        daemon = server.children("daemon")
        self.assertTrue(world.put("a"))
        # The state store cannot write down how it ended before its files are gone.
        self.settle(world)
        self.assertIn("state.db: database or disk is full", server.log())
        self.assert_one_output(server, "out", "a", chain.content(b"a"))
        run, = server.runs("greedy")
        self.assertEqual(run["outcome"], "succeeded")
        self.assertGreater(disk.free_bytes(), FREE_BYTES_MIN)
        self.assertEqual(server.children("daemon"), daemon, "it went on by itself")
        server.stop()
        world.check_log()


if __name__ == "__main__":
    power_loss.main()
