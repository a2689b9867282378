"""Daemon, launcher, supervisor and functions die again and again while events go through the chain."""
import contextlib
import os
import random
import signal
import time

import chain
import harness

DEATHS_OF_ONE_LIFE = 3  # of daemon or launcher: each doubles the wait for the next start, until all starts anew
PAUSE_S = (0.02, 0.4)
VICTIMS = ("daemon", "daemon", "launcher", "function", "function")


class TestCase(chain.TestCase):
    def kill_while_events_pass(self, inputs, kills, executor):
        """`inputs` files, some of them over HTTP, and `kills` kills at random times. MILLRACE_SEED repeats the choices."""
        seed = int(os.environ.get("MILLRACE_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
        print(f"MILLRACE_SEED={seed}", flush=True)
        dice = random.Random(seed)
        world = self.make_chain({"--lease": "1s", "--drain-timeout": "1s"}, executor=executor)
        world.server.start()
        world.apply()
        killed = {"supervisor": 0, "daemon": 0, "launcher": 0, "function": 0}
        deaths = put = 0
        victims = []
        while put < inputs or sum(killed.values()) < kills:
            for _ in range(min(inputs - put, dice.randrange(1, 2 + 2 * inputs // kills))):
                self.put_one(world, dice, put)
                put += 1
            if sum(killed.values()) < kills:
                victims = victims or dice.sample(VICTIMS, len(VICTIMS))  # so that each kind dies, however few the kills
                if deaths >= DEATHS_OF_ONE_LIFE:
                    world.server.kill()
                    world.server.start()
                    killed["supervisor"] += 1
                    deaths = 0
                elif self.kill_one(world, dice, victims[-1]):
                    killed[victims[-1]] += 1
                    deaths += victims.pop() != "function"
                elif put == inputs:  # no function may ever run again
                    victims.pop()
            time.sleep(dice.uniform(*PAUSE_S))
        self.settle(world, "240s")
        by_input = world.check()
        print("killed:", killed, "confirmed:", len(world.confirmed), "unanswered:", len(world.unknown),
              "called:", len(world.called), "runs:", len(by_input), flush=True)
        for kind in ("daemon", "launcher", "function"):
            self.assertGreater(killed[kind], 0, "a kind that never died proves nothing")
        self.assertGreater(sum(run["losses"] for run in by_input.values()), 0, "nothing was lost: nothing was killed at work")
        world.server.restart()
        world.server.wait_idle()
        self.assertEqual(world.check().keys(), by_input.keys())
        world.server.stop()
        world.check_log()

    def put_one(self, world, dice, number):
        kind = dice.choice(("plain",) * 17 + ("flaky",) * 2 + ("poison",))
        way = dice.choice(("drop",) * 6 + ("put", "call"))
        if way == "call":
            world.call(b"call %d" % number)
        if way == "put":
            world.put(f"{kind}-{number}")
        else:
            world.drop(f"{kind}-{number}")

    def kill_one(self, world, dice, victim):
        """Whether there was a process of that kind, which is dead now."""
        pids = world.server.children(victim)
        if not pids:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(dice.choice(pids), signal.SIGKILL)
            return True
        return False


main = harness.main
