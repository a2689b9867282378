"""Somebody sets the clock, by an hour, back and forth, while events are under way: leases, delays and windows go by the
monotonic clock, so nothing is lost, run twice, early or late. What outlives the daemon has times of people's clock."""
import email.utils
import itertools
import os
import struct
import time

import chain
import harness

HOUR_S = 3600
# Longer than the lease, so that it lives through renewals under the new time.
SLOW = """#!/bin/sh
set -e
mkdir "{marks}/slow-$MILLRACE_RUN_ID"
sleep 5
cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"
"""

SAME = """#!/bin/sh
cat >"$TMP_OUTPUT_DIR/same"
"""


class Clock(chain.TestCase):
    def make_world(self):
        world = self.make_chain(preload=os.environ["MILLRACE_MOVED_CLOCK"])
        self.offset = self.folder / "offset"
        self.offset.write_bytes(bytes(8))
        self.offset.chmod(0o644)
        world.server.wrapper.append(f"MOVED_CLOCK_FILE={self.offset}")
        world.server.start()
        world.apply()
        return world

    def set_clock(self, world, off_s):
        """By so much from the real one, for the daemon and the supervisor."""
        with open(self.offset, "r+b", buffering=0) as file:
            file.write(struct.pack("=q", off_s * 10**9))
        self.off_s = off_s
        if world.server.process is not None:
            self.assert_clock(world)

    def assert_clock(self, world):
        """The daemon's is what we made it: else nothing here would prove anything."""
        date = world.server.request("GET", "/health").getheader("Date")
        off_s = email.utils.parsedate_to_datetime(date).timestamp() - time.time()
        self.assertAlmostEqual(off_s, self.off_s, delta=60)

    def topic(self, world, name):
        found, = [topic for topic in world.server.ask("topics")["topics"] if topic["name"] == name]
        return found

    def later(self, world, delay):
        """A call of `called` that waits so long first."""
        path = f"/api/v1/functions/called/invoke?async=true&delay={delay}"
        answer = world.server.request("POST", path, delay.encode())
        self.assertEqual(answer.status, 202, answer.body)
        return answer.json()["run_id"]

    def is_over(self, world, run_id):
        return run_id in [run["run_id"] for run in world.server.runs("called")]

    def is_listed(self, world, run_id):
        return run_id in [run["run_id"] for run in world.server.ask("runs", "-f", "called")["runs"]]

    def publish(self, world):
        answer = world.server.request("POST", "/api/v1/topics/news/events", b"news", {"Idempotency-Key": "same"})
        self.assertEqual(answer.status // 100, 2, answer.body)
        return answer.json()["duplicate"]

    def test_jumps_while_functions_run(self):
        world = self.make_world()
        server = world.server
        slow = [f"slow-{number}" for number in range(6)]  # each with a topic of its own, and its leases' timer
        server.apply(*({"name": name, "script": SLOW.format(marks=world.marks), "input": [f"in-{name}"],
                        "output": ["slow-out"], **chain.PATIENT, "executor": "process"} for name in slow))
        for name in slow:
            server.cli("put", "-", f"in-{name}/{name}", stdin=b"x")
        self.assertTrue(world.put("flaky-before"))
        harness.until(lambda: len(list(world.marks.glob("slow-*"))) == len(slow), "they run")
        jumps = itertools.count()

        def jump():
            """Again and again: each lease is renewed under one time and looked at under another."""
            number = next(jumps)
            self.set_clock(world, HOUR_S if number % 2 else -HOUR_S)
            if number < 10:
                for kind in ("plain", "flaky", "poison"):
                    self.assertTrue(world.put(f"{kind}-{number}"))
                self.assertTrue(world.call(b"%d" % number))
            return len(server.names("slow-out")) == len(slow)
        harness.until(jump, "they end")
        self.settle(world)
        print("jumps:", next(jumps), flush=True)
        by_input = world.check()
        for (function, _), run in by_input.items():
            self.assertEqual(run["losses"], 0, run)
            if function in slow:
                self.assertEqual(len(run["attempts"]), 1, run)
        self.assertEqual(sorted(function for function, _ in by_input if function in slow), slow)
        self.set_clock(world, 0)
        server.restart()
        server.wait_idle()
        self.assertEqual(world.check().keys(), by_input.keys())
        server.stop()
        world.check_log()

    def test_delays_and_windows_go_by_the_time_that_passes(self):
        world = self.make_world()
        far = self.later(world, "30m")
        near = self.later(world, "2s")
        self.assertFalse(self.publish(world))
        self.set_clock(world, -HOUR_S)
        harness.until(lambda: self.is_over(world, near), "a delay that began before the clock went back ends")
        self.set_clock(world, HOUR_S)
        self.assertTrue(self.publish(world), "the window of ids has not passed")
        near = self.later(world, "1s")
        harness.until(lambda: self.is_over(world, near), "a delay ends")
        self.assertEqual(self.topic(world, "fn.called")["delayed"], 1, "half an hour has not passed")
        self.assertFalse(self.is_over(world, far))

    def make_copying_world(self):
        world = self.make_world()
        world.server.apply({"name": "copy", "script": harness.COPY, "input": ["news"], "output": ["newest"],
                            **chain.PATIENT, "executor": "process"})
        return world

    def assert_newest_stands(self, server, number):
        server.cli("put", "-", "news/a", stdin=b"%d" % number)
        server.wait_idle()
        self.assert_one_output(server, "newest", "a", b"%d" % number)

    def test_the_later_of_two_events_is_the_later_one_whatever_the_clock_says(self):
        world = self.make_copying_world()
        for number, off_s in enumerate((HOUR_S, -HOUR_S, 0)):
            self.set_clock(world, off_s)
            self.assert_newest_stands(world.server, number)

    def test_the_later_of_two_events_is_the_later_one_over_restarts(self):
        world = self.make_copying_world()
        server = world.server
        # Twice behind the clock of the first life: the third one goes on behind the second.
        for number, off_s in enumerate((0, -HOUR_S, -HOUR_S)):
            server.kill()
            self.set_clock(world, off_s)
            server.start()
            self.assert_clock(world)
            self.assert_newest_stands(server, number)

    def test_an_event_that_waits_over_a_restart_is_earlier_than_those_that_come_then(self):
        world = self.make_world()
        server = world.server
        server.apply({"name": "called", "script": SAME, "output": ["newest"], **chain.PATIENT, "executor": "process"})
        waiting = self.later(world, "30m")
        server.kill()
        self.set_clock(world, -HOUR_S)
        server.start()
        self.assert_clock(world)
        harness.until(lambda: self.is_listed(world, waiting), "it is read back")
        later = self.later(world, "0s")
        harness.until(lambda: self.is_over(world, later), "the later one runs")
        server.kill()
        self.set_clock(world, HOUR_S)
        server.start()
        self.assert_clock(world)
        harness.until(lambda: self.is_over(world, waiting), "it is due by the clock")
        server.wait_idle()
        self.assert_one_output(server, "newest", "same", b"0s")

    def test_delays_are_restored_by_the_clock_and_never_longer_than_they_were(self):
        world = self.make_world()
        server = world.server
        far, near = self.later(world, "30m"), self.later(world, "2s")
        server.kill()
        self.set_clock(world, -HOUR_S)
        server.start()
        self.assert_clock(world)
        harness.until(lambda: self.is_over(world, near), "it waits no longer than it was told")
        self.assertEqual(self.topic(world, "fn.called")["delayed"], 1)
        server.kill()
        self.set_clock(world, HOUR_S)
        server.start()
        self.assert_clock(world)
        harness.until(lambda: self.is_over(world, far), "it is due by the clock")


if __name__ == "__main__":
    harness.main()
