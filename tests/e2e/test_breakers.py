"""A function that cannot run is left alone for a while, then tried with one event, and goes on when that went well."""
import ctypes
import os
import subprocess
import unittest

import harness

FILES = 12
TRIES = 3
CLONE_NEWNS = 0x00020000
SMALL, LARGE = "size=16m", "size=256m"  # nothing is started where less than 32 MiB are free


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


class Breakers(harness.TestCase):
    def circuit(self, server):
        for line in server.request("GET", "/metrics").body.decode().splitlines():
            if line.startswith('millrace_circuit_open{kind="function",name="f"}'):
                return int(line.rsplit(" ", 1)[1])
        return None

    def in_flight(self, server):
        topic, = [each for each in server.ask("topics")["topics"] if each["name"] == "fn.f"]
        return topic["in_flight"]

    def test_opens_probes_with_one_and_closes(self):
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
            raise unittest.SkipTest(f"no mount namespace of our own: {os.strerror(ctypes.get_errno())}")
        mount("--make-rprivate", "/")
        disk = self.folder / "disk"
        disk.mkdir()
        mount("-t", "tmpfs", "-o", SMALL + ",mode=1777", "none", disk)
        self.addCleanup(subprocess.run, ["umount", "-l", disk], check=False)
        (disk / "out").mkdir(mode=0o777)
        (disk / "out").chmod(0o777)
        server = self.start_server({"--buckets": f"out={disk}/out", "--breaker-errors": "3", "--breaker-rest": "100ms",
                                    "--breaker-rest-max": "400ms"})
        server.apply({"name": "f", "script": harness.COPY, "executor": "process", "input": ["in"], "output": ["out"],
                      "cpu": "100m", "memory": "16Mi"})
        for number in range(FILES):
            server.drop("in", f"{number}", b"x")
        harness.until(lambda: self.circuit(server) == 1, "it rests")
        row, = [each for each in server.request("GET", "/api/v1/top").json()["functions"] if each["name"] == "f"]
        self.assertEqual(row["resting"]["what"], "function")
        self.assertIn("free for outputs", row["resting"]["reason"])
        # What was in hand when it opened comes back; from then on there is one at a time.
        harness.until(lambda: self.in_flight(server) <= 1, "the others are given back")

        def outputs():
            return set(os.listdir(disk / "out")) - {".millrace"}

        def tries():
            self.assertLessEqual(self.in_flight(server), 1)
            return server.log().count("run postponed")
        before = tries()
        harness.until(lambda: tries() >= before + TRIES, "it is tried now and then")
        self.assertEqual(self.circuit(server), 1)
        self.assertEqual(outputs(), set())

        mount("-o", "remount," + LARGE, disk)
        server.wait_idle()
        self.assertEqual(outputs(), {str(number) for number in range(FILES)})
        self.assertEqual(self.circuit(server), 0)
        self.assertIn("working again", server.log())
        for run in server.runs():
            self.assertEqual((run["outcome"], run["failures"], run["losses"]), ("succeeded", 0, 0))

    def test_bounds_of_the_options(self):
        for options, expected in ((("--breaker-errors", "0"), "not a number from 1"),
                                  (("--breaker-rest", "40s"), "breaker_rest_max: 30s is shorter than breaker_rest, 40s"),
                                  (("--breaker-rest-max", "9ms"), "between 10ms")):
            done = subprocess.run([harness.BIN, "serve", "--data", str(self.folder / "data"), *options],
                                  capture_output=True, timeout=60, check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(expected, done.stderr.decode())


if __name__ == "__main__":
    harness.main()
