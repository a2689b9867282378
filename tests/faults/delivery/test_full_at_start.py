"""A server is started on a disk without any room: it serves what it can, says that it takes no work, and goes on when
there is room."""
import errno
import http.client
import itertools
import json
import os
import shutil

from chain import harness
import power_loss
import volume

DISK_BYTES = 60 << 20
SEGMENT = "4Mi"
NO_SPACE = (503, 507)


class FullAtStart(power_loss.TestCase):
    def setUp(self):
        super().setUp()
        self.port = harness.free_port()
        self.disk = self.make_volume(DISK_BYTES)
        self.world = self.make_chain({"--log-segment": SEGMENT, "--listen": f"127.0.0.1:{self.port}"},
                                     data=self.disk.path / "data")
        self.server = self.world.server
        self.filler = self.disk.path / "filler"

    def ask(self, method, path, body=None):
        """Where the server listens may stand in no file yet."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {"Authorization": "Bearer " + self.server.token()})
            response = connection.getresponse()
            return response.status, response.read()
        except OSError:
            return None, b""
        finally:
            connection.close()

    def fill(self):
        """To the last block: what was just removed gives its blocks back only with the next commit of the journal."""
        self.filler.mkdir(exist_ok=True)
        small = itertools.count()

        def write(name, size_bytes):
            with open(self.filler / name, "ab", buffering=0) as file:
                file.write(bytes(size_bytes))
                os.fsync(file.fileno())

        def until_full(step):
            try:
                while True:
                    step()
            except OSError as error:
                self.assertEqual(error.errno, errno.ENOSPC)

        def full():
            until_full(lambda: write("large", 1 << 20))
            until_full(lambda: write(str(next(small)), 1))
            volume.run("sync", "-f", self.disk.path)
            return self.disk.free_bytes() == 0
        harness.until(full, "the disk is full")

    def stop_on_a_full_disk(self, *lost):
        self.server.stop()
        for name in ("listen", *lost):
            (self.server.data / name).unlink()
        self.fill()

    def test_it_serves_what_it_can_and_goes_on_when_there_is_room(self):
        self.server.start()
        self.world.apply()
        self.assertTrue(self.world.put("early"))
        self.server.wait_idle()
        self.stop_on_a_full_disk()

        self.server.launch()
        harness.until(lambda: self.ask("GET", "/health/live")[0] == 200, "it is there")
        daemon = self.server.children("daemon")
        status, told = self.ask("GET", "/health")
        self.assertEqual((status, json.loads(told)["status"]), (503, "degraded"))
        self.assertIn("less than 32Mi free at", json.loads(told)["reasons"][0]["reason"])
        status, runs = self.ask("GET", "/api/v1/runs")
        self.assertEqual((status, len(json.loads(runs)["runs"])), (200, 3))
        status, object_ = self.ask("GET", "/api/v1/buckets/in/objects/early")
        self.assertEqual(status, 200, object_)
        self.assertEqual(self.ask("POST", "/api/v1/topics/fn.first/purge")[0], 200, "verdicts go on")
        self.assertIn(self.ask("PUT", "/api/v1/buckets/in/objects/late", b"x" * (1 << 20))[0], NO_SPACE)

        shutil.rmtree(self.filler)
        harness.until(lambda: self.ask("GET", "/health")[0] == 200, "it takes work again")
        harness.until(self.server.is_healthy, "its address is in the data directory")
        harness.until(lambda: self.world.put("late"), "objects are taken again")
        self.settle(self.world)
        self.world.check()
        self.assertEqual(self.server.children("daemon"), daemon, "it went on by itself")
        self.assertIn("this node takes no more work", self.server.log())
        self.assertIn("this node takes work again", self.server.log())
        self.server.stop()
        self.world.check_log()

    def test_what_cannot_be_opened_is_waited_for(self):
        self.server.start()
        self.world.apply()
        self.assertTrue(self.world.put("early"))
        self.server.wait_idle()
        # As a copy of the database alone leaves it: its log and index have to be made anew.
        self.stop_on_a_full_disk("state.db-wal", "state.db-shm")
        self.server.launch()
        harness.until(lambda: "no room to start: waiting for it" in self.server.log(), "it says so")
        daemon = self.server.children("daemon")
        shutil.rmtree(self.filler)
        self.server.wait_ready()
        self.assertEqual(self.server.children("daemon"), daemon)
        self.assertTrue(self.world.put("late"))
        self.settle(self.world)
        self.world.check()


if __name__ == "__main__":
    power_loss.main()
