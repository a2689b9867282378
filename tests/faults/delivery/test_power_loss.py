"""Power loss, a few times, and programs that lie about what they synced, which this must notice."""
import os
import random
import shutil
import subprocess

import fail_points
import power_loss
from chain import harness

STATE_ROUNDS = 6
TALKER = """#!/bin/sh
head -c 60000 /dev/zero | tr '\\0' 'x'
echo told >"$TMP_OUTPUT_DIR/called"
"""


class PowerLoss(power_loss.TestCase):
    def test_nothing_confirmed_is_lost_and_nothing_is_torn(self):
        self.check_confirmed(rounds=5)

    def test_after_every_step(self):
        # The sweeper's come after a death in between only, retention's after an hour, and no function of this world has
        # results for a topic.
        later = ("after_sweep", "after_retention", "after_publish_event")
        self.check_every_point([name for name in fail_points.NAMES if not name.startswith(later)])

    def test_what_was_removed_does_not_come_back(self):
        """A folder whose making had reached the disk, and whose removal had not when its row was forgotten."""
        disk = self.make_volume(256 << 20)
        world = self.make_world(disk, fail="after_forget_attempt=stop")
        world.server.start()
        world.apply()
        world.server.apply({"name": "talker", "script": TALKER, "executor": "process", "output": ["calls/{run}"]})
        # A write-ahead log that still grows takes everything else along to the disk with each of its syncs.
        log, before = world.server.data / "state.db-wal", 0
        while before < log.stat().st_size:
            before = log.stat().st_size
            for _ in range(150):
                self.assertEqual(world.ask("POST", "/api/v1/functions/talker/invoke?async=true", b"x").status, 202)
            world.server.wait_idle()
        world.put("flaky-synced")
        harness.until(lambda: self.struck(world) and self.stands_still(world), "it is removed, and its row says so")
        disk.cut_off()
        self.kill_everything(world.server)
        disk.go_on_with_what_reached_the_disk()
        world.server.start()
        self.settle(world)
        world.check()

    def test_a_state_store_keeps_what_it_told(self):
        self.assertEqual(self.lost_by_a_state_store("state"), set())

    # ---- of the test itself: it finds what it looks for

    def test_a_log_that_is_not_synced_is_noticed(self):
        with self.assertRaises(AssertionError) as found:
            self.check_confirmed(rounds=5, preload=self.lying())
        self.assertRegex(str(found.exception), "lost or too many|confirmed|data_loss")
        print("noticed:", str(found.exception)[-300:], flush=True)

    def test_a_state_store_that_is_not_synced_is_noticed(self):
        lost = self.lost_by_a_state_store("log", preload=self.lying())  # in a folder about which it lies
        self.assertGreater(len(lost), 0)
        print("noticed:", len(lost), "lost, such as", min(lost), flush=True)

    def lying(self):
        return shutil.copy(os.environ["MILLRACE_LYING_SYNC"], self.folder)  # where the daemon's user may read it

    def lost_by_a_state_store(self, folder, preload=None):
        """What the writer of the contract suite was told and what is not there afterwards, or half there."""
        seed = int(os.environ.get("MILLRACE_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
        print(f"MILLRACE_SEED={seed}", flush=True)
        dice = random.Random(seed)
        disk = self.make_volume(64 << 20)
        path = disk.path / folder
        path.mkdir()
        power_loss.volume.run("sync", "-f", path)
        writer = [os.environ["MILLRACE_STATE_WRITER"], "sqlite", str(path / "state")]
        environment = os.environ | ({"LD_PRELOAD": preload} if preload else {})
        told, last = set(), 0
        for _ in range(STATE_ROUNDS):
            process = subprocess.Popen([*writer, str(max(0, last - 10))], stdout=subprocess.PIPE, env=environment,
                                       preexec_fn=harness.die_with_parent)
            lines = [process.stdout.readline() for _ in range(dice.randrange(1, 800))]
            if dice.random() < 0.5:
                disk.cut_off(seen_by=[process.pid])  # and it must not say that anything was written then
            process.kill()
            lines += process.stdout.readlines()
            # The beginning of an attempt is only written, until something else is answered.
            while lines and lines[-1].startswith(b"b "):
                lines.pop()
            told.update(line.decode().strip() for line in lines)
            process.stdout.close()
            process.wait()
            disk.cut_off()
            disk.go_on_with_what_reached_the_disk()
            told.discard("")
            last = max((int(line.split()[1].split(".")[1]) for line in told), default=0)
        there = set(power_loss.volume.run(*writer, "read", last).decode().split("\n"))
        halves = {line for line in there if line.startswith("half ")}
        print("told:", len(told), "there:", len(there), flush=True)
        return (told - there) | halves


if __name__ == "__main__":
    power_loss.main()
