"""Processes die at random while files go through a chain of two functions: nothing is lost, nothing comes out twice.

MILLRACE_SEED repeats a sequence of choices; their moments differ, of course.
"""
import os
import random
import signal
import time

import harness

FILES = 60
KILLS = 14
PAUSE_S = (0.05, 0.6)  # between two kills


class KillLoop(harness.TestCase):
    def test_every_input_gives_exactly_one_output(self):
        seed = int(os.environ.get("MILLRACE_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
        print(f"MILLRACE_SEED={seed}", flush=True)
        self.random = random.Random(seed)
        server = self.make_server({"--restarts-max": "1000"})
        server.start()
        common = {"retries": 50, "max_losses": 100, "retry": {"base": "50ms", "cap": "500ms"}, "memory": "32Mi",
                  "cpu": "100m"}
        slow = '#!/bin/sh\nsleep 0.2\n{ cat "$INPUT_FILE_PATH"; echo %s; } >"$TMP_OUTPUT_DIR/$(basename "$INPUT_FILE_PATH")"\n'
        server.apply({"name": "first", "script": slow % "first", "input": ["in"], "output": ["mid"], **common},
                     {"name": "second", "script": slow % "second", "input": ["mid"], "output": ["out"], **common})

        kills = {"supervisor": 0, "daemon": 0, "launcher": 0, "function": 0}
        dropped = 0
        while dropped < FILES or sum(kills.values()) < KILLS:
            for _ in range(self.random.randrange(3, 9)):
                if dropped < FILES:
                    server.drop("in", f"file-{dropped}", b"content %d\n" % dropped)
                    dropped += 1
            if sum(kills.values()) < KILLS:
                victim = self.kill_one(server)
                if victim:
                    kills[victim] += 1
            time.sleep(self.random.uniform(*PAUSE_S))
        print("killed:", kills, flush=True)

        harness.until(server.is_healthy, "the server is ready again")
        server.wait_idle("145s")
        done = {run["input"]["key"]: (run["outcome"], run.get("reason")) for run in server.runs("second")}
        letters = server.ask("redrive", "first", "--list"), server.ask("redrive", "second", "--list")
        self.assertEqual(server.names("out"), {b"file-%d" % number for number in range(FILES)}, (done, letters))
        for number in range(FILES):
            self.assert_one_output(server, "out", f"file-{number}", b"content %d\nfirst\nsecond\n" % number)
        for function in ("first", "second"):
            runs = server.runs(function)
            self.assertEqual([run["outcome"] for run in runs], ["succeeded"] * FILES)
            self.assertEqual(len({run["input"]["key"] for run in runs}), FILES)
        # A start on what all this left finds nothing to do.
        server.restart()
        server.wait_idle()
        self.assertEqual(len(server.runs()), 2 * FILES)

    def kill_one(self, server):
        """Kills one process of a kind drawn by lot; the kind, or nothing when there is none just now."""
        victim = self.random.choice(("supervisor", "daemon", "daemon", "launcher", "launcher", "function", "function"))
        if victim == "supervisor":
            server.kill()
            server.start()
            return victim
        pids = server.children(victim)
        if not pids:
            return None
        try:
            os.kill(self.random.choice(pids), signal.SIGKILL)
        except ProcessLookupError:
            return None
        return victim


if __name__ == "__main__":
    harness.main()
