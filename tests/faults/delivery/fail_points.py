"""What the tests of the fail points share: a daemon that dies after a step, and one that stands still there.

The points are those of core/fail_point.h.
"""
import os
import re
import signal
import time

import chain
import harness

NAMES = re.findall(r'^ +"(\w+)",$', (harness.REPOSITORY / "core" / "fail_point.h").read_text(), re.MULTILINE)

OPTIONS_SHORT_LEASE = {"--lease": "500ms"}


class TestCase(chain.TestCase):
    def strike(self, expected, name="plain", fail=None):
        """The daemon dies at `fail`, or at each of the points for itself, when the input `name` comes."""
        for point, records in expected.items():
            with self.subTest(point=point):
                world = self.make_chain(fail=fail or point, name=point)
                world.server.start()
                world.apply()
                world.put(name)
                self.await_deaths(world)
                by_input = self.check_all(world)
                run = by_input["first", name.encode()]
                told = [attempt["outcome"] for attempt in run["attempts"]], run["failures"], run["losses"]
                self.assertIn(told, records, point)
                print(f"{fail or point}: died there, {len(by_input)} runs each once, the struck one {told}", flush=True)

    def await_deaths(self, world):
        harness.until(lambda: self.struck(world) == world.wanted, f"the daemon dies at {world.wanted}")
        self.settle(world)

    def check_all(self, world):
        """Goes on with whatever comes then, and a start on what all this left finds nothing to do."""
        world.check()
        for other in ("later", "flaky-later", "poison-later"):
            self.assertTrue(world.put(other))
        self.assertTrue(world.call(b"called"))
        world.server.wait_idle()
        return self.check_restart(world)

    def check_restart(self, world):
        by_input = world.check()
        world.server.restart()
        world.server.wait_idle()
        self.assertEqual(world.check().keys(), by_input.keys())
        world.server.stop()
        world.check_log()
        return by_input

    def stand_still(self, points, meanwhile, options=None, executor="process", name="one"):
        """The daemon stands still at each of the points, until `meanwhile(world)` has happened."""
        world = self.make_chain(options, " ".join(f"{point}=stop" for point in points), executor, name)
        world.server.start()
        world.apply()
        world.drop("plain")
        world.drop("poison")
        if executor == "process":
            world.drop("flaky")
        struck = set()
        while struck != set(points):
            harness.until(lambda: self.struck(world) != struck, f"the daemon stops at one of {set(points) - struck}")
            struck = self.struck(world)
            daemon, = world.server.children("daemon")
            harness.until(lambda: b") T " in harness.read_proc(daemon, "stat"), "it stands still")
            meanwhile(world)
            os.kill(daemon, signal.SIGCONT)
            # Each death of the launcher within a minute doubles the wait for the next one.
            harness.until(lambda: world.server.children("launcher"), "there is a launcher")
        self.settle(world)
        return self.check_restart(world)

    def kill_launcher(self, world):
        for pid in world.server.children("launcher"):
            harness.kill(pid)

    def outlast_lease(self, world):
        """The lease of OPTIONS_SHORT_LEASE runs out. That clock is the daemon's own: nobody else can wait for it."""
        del world
        time.sleep(1.2)
