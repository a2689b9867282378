"""The power goes: what was not synced is lost, and what was answered 2xx is not."""
import os
import random
import shutil
import threading

import chain
import harness
import volume

VOLUME_BYTES = 160 << 20
CLIENTS = 4


class TestCase(chain.TestCase):
    def make_volume(self, size_bytes=VOLUME_BYTES, name="volume"):
        volume.enter_own_mounts()
        made = volume.Volume(self.folder, name, size_bytes)
        self.addCleanup(made.unmount)
        return made

    def make_world(self, disk, preload=None, fail=""):
        return self.make_chain({"--lease": "1s", "--drain-timeout": "1s"}, fail, preload=preload,
                               data=disk.path / "data")

    def move_log(self, world, disk):
        """The log on a disk of its own, so that no sync of the results takes it along."""
        world.server.stop()
        log = world.server.data / "log"
        volume.run("cp", "-a", log, disk.path / "kept")
        volume.run("sync", "-f", disk.path)
        shutil.rmtree(log)
        log.symlink_to(disk.path / "kept")
        world.server.start()

    def lose_power(self, world, disks, dice, number):
        """Clients put and call until the power goes, and what they were told is remembered."""
        stop = threading.Event()

        def client(which):
            for count in range(10_000):
                name = f"{number}-{which}-{count}"
                if count % 3 == 0:
                    told = world.call(name.encode())
                else:
                    told = world.put(("flaky-" if count % 7 == 1 else "plain-") + name)
                if stop.is_set() or (not told and not world.server.is_healthy()):
                    return
        clients = [threading.Thread(target=client, args=(which,)) for which in range(CLIENTS)]
        before = len(world.confirmed) + len(world.called)
        for one in clients:
            one.start()
        try:
            wanted = before + dice.randrange(5, 120)
            harness.until(lambda: len(world.confirmed) + len(world.called) >= wanted, "clients are answered")
            # Now and then the processes see it: what cannot be synced any more must not be confirmed either.
            if dice.random() < 0.5:
                disks[0].cut_off(seen_by=world.server.children("daemon"))  # who syncs
            self.kill_everything(world.server)
        finally:
            stop.set()
            for one in clients:
                one.join()
        for disk in disks:
            disk.cut_off()
        for disk in disks:
            disk.go_on_with_what_reached_the_disk()
        world.check_whole()  # before anybody could repair it

    def kill_everything(self, server):
        """At once: nobody has time to bring anything to an end, as they would when only the supervisor went."""
        server.process.kill()
        for pid in server.own_pids():
            harness.kill(pid)
        server.kill()

    def check_confirmed(self, rounds, preload=None):
        seed = int(os.environ.get("MILLRACE_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
        print(f"MILLRACE_SEED={seed}", flush=True)
        dice = random.Random(seed)
        disks = [self.make_volume()]
        if preload:
            disks.append(self.make_volume(name="log"))
        world = self.make_world(disks[0], preload)
        world.server.start()
        world.apply()
        if preload:
            self.move_log(world, disks[1])
        for number in range(rounds):
            self.lose_power(world, disks, dice, number)
            world.server.start()
        self.settle(world)
        by_input = world.check()
        print("lost power", rounds, "times; confirmed:", len(world.confirmed), "unanswered:", len(world.unknown),
              "called:", len(world.called), "runs:", len(by_input), flush=True)
        world.server.restart()
        world.server.wait_idle()
        self.assertEqual(world.check().keys(), by_input.keys())
        world.server.stop()
        world.check_log()

    def check_every_point(self, points):
        """The power goes just after each of these steps, in this order or another, in one data directory."""
        disk = self.make_volume()
        world = self.make_world(disk, fail=" ".join(f"{point}=stop" for point in points))
        world.server.start()
        world.apply()
        struck, number = set(), 0
        while struck != set(points):
            number += 1
            feeder = threading.Thread(target=self.feed, args=(world, number))
            feeder.start()
            try:
                harness.until(lambda: self.struck(world) != struck, f"a step of {set(points) - struck}")
                struck = self.struck(world)
                disk.cut_off()
                self.kill_everything(world.server)
            finally:
                feeder.join()
            disk.go_on_with_what_reached_the_disk()
            world.check_whole()
            world.server.launch()  # it may stand still again before it is ready
        self.settle(world)
        by_input = world.check()
        print("lost power after", ", ".join(sorted(struck)), "and", len(by_input), "runs each once", flush=True)
        world.server.restart()
        world.server.wait_idle()
        self.assertEqual(world.check().keys(), by_input.keys())
        world.server.stop()
        world.check_log()

    def feed(self, world, number):
        """One of each kind, as far as the server takes them before the power goes."""
        for kind in ("plain", "flaky", "poison"):
            harness.until(lambda: world.server.process is None or world.server.is_healthy()
                          or self.stands_still(world), "the server is ready or gone")
            world.put(f"{kind}-{number}")
        world.call(b"%d" % number)

    def stands_still(self, world):
        """Whether the daemon stands still."""
        return any(b") T " in harness.read_proc(pid, "stat") for pid in world.server.children("daemon"))


main = harness.main
