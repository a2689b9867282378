"""scripts/demo.sh, which is what `make demo` runs, in a directory of its own."""
import itertools
import os
import re
import shutil
import subprocess

import harness
import nats_server

FRAMES = 2
DEMO_TIMEOUT_S = 840  # a hang guard
MARK = ".made-by-millrace-demo"
COLUMNS = ["FUNCTION", "RUNS", "OUTCOMES", "FAILED TRIES", "WALL p50 / p99", "CPU p50 / p99", "MEMORY p50 / p99",
           "QUEUED p50 / p99", "START p50 / p99"]


class Demo(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.require_packages("demo")
        self.server = self.make_server()
        self.data = self.server.data

    def run_demo(self, *wrapper, repository=harness.REPOSITORY, **variables):
        """Its exit status and output."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")}
        environment |= {"MILLRACE_BIN": harness.BIN, "MILLRACE_DEMO_DATA": str(self.data), "N": str(FRAMES)} | variables
        demo = subprocess.Popen([*wrapper, repository / "scripts" / "demo.sh"], env=environment, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                start_new_session=True, preexec_fn=harness.die_with_parent)
        self.server.sessions.add(demo.pid)
        try:
            output, _ = demo.communicate(timeout=DEMO_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            demo.terminate()  # it stops its server
            output, _ = demo.communicate()
            self.fail(f"not done after {DEMO_TIMEOUT_S} s:\n{output}")
        return demo.returncode, output

    def rows(self, output):
        """The closing table: {function: {column: text}}."""
        lines = iter(output.splitlines())
        for line in lines:
            if self.cells(line) == COLUMNS:
                return {cells[0]: dict(zip(COLUMNS, cells, strict=True))
                        for cells in map(self.cells, itertools.takewhile(str.strip, lines))}
        self.fail(f"there is no table {COLUMNS} in:\n{output}")

    def cells(self, line):
        return re.split(r"  +", line.strip())

    def test_a_small_demo(self):
        self.data.mkdir()
        (self.data / MARK).touch()  # as an earlier demo left it
        (self.data / "junk").touch()
        status, output = self.run_demo()
        self.assertEqual(status, 0, output)
        self.assertFalse((self.data / "junk").exists())
        self.assert_all_is_shown(output, self.data)
        self.assertEqual(self.server.names("people"),
                         {f"vtest-{number:05}{end}".encode() for number in (1, 2) for end in (".jpg", ".json")})

    def test_a_small_demo_over_nats(self):
        nats_server.require(self)
        status, output = self.run_demo(BROKER="nats")
        self.assertEqual(status, 0, output)
        self.assertRegex(output, r"the NATS server: nats://127.0.0.1:\d+, store in ")
        self.assert_all_is_shown(output, self.data)
        self.assert_nothing_runs()

    def test_a_small_demo_with_three_workers(self):
        nats_server.require(self)
        status, output = self.run_demo(REPLICAS="3")
        self.assertEqual(status, 0, output)
        self.assert_all_is_shown(output, self.data / "replicas" / "gateway")
        self.assertRegex(output, r"\nruns of people: 1 by worker-[123], 1 by worker-[123]\n|"
                                 r"\nruns of people: 2 by worker-[123]\n")
        self.assert_nothing_runs()

    def assert_nothing_runs(self):
        self.assertEqual([pid for pid in harness.all_pids()
                          if str(self.data).encode() in harness.read_proc(pid, "cmdline")], [])

    def assert_all_is_shown(self, output, node):
        table = self.rows(output)
        self.assertEqual({name: (row["RUNS"], row["OUTCOMES"], row["FAILED TRIES"]) for name, row in table.items()},
                         {"keyframes": ("1", "1 succeeded", "0"), "people": (f"{FRAMES}", f"{FRAMES} succeeded", "0")})
        for row in table.values():
            for column in ("WALL p50 / p99", "CPU p50 / p99", "QUEUED p50 / p99", "START p50 / p99"):
                self.assertRegex(row[column], r"^[\d.]+ \w+ / [\d.]+ \w+$")
            self.assertRegex(row["MEMORY p50 / p99"], r"^[\d.]+ [MG]iB / [\d.]+ [MG]iB$")

        self.assertRegex(output, rf"frames {FRAMES}/{FRAMES}, people {FRAMES}/{FRAMES}, running 0\n")
        self.assertRegex(output, rf"\n[1-9]\d* people in [12] of {FRAMES} frames, in \d+ s\n")
        self.assertTrue(output.endswith(f"look at them: {node}/buckets/people\n"), output)

    def test_an_ordinary_users_demo(self):
        # Everything where that user can reach it; a checkout in root's home is not.
        checkout = self.folder / "checkout"
        for name in ("scripts", "config"):
            shutil.copytree(harness.REPOSITORY / name, checkout / name)
        (checkout / "build" / "release").mkdir(parents=True)
        shutil.copy(harness.BIN, checkout / "build" / "release" / "millrace")
        cache, home = self.folder / "cache", self.folder / "home"
        for folder in (cache / "millrace", home):
            folder.mkdir(parents=True)
        subprocess.run([harness.REPOSITORY / "scripts" / "fetch_demo_video", cache / "millrace" / "vtest.avi"],
                       stdin=subprocess.DEVNULL, check=True)
        shutil.chown(home, harness.USER)
        self.data = self.server.data = home / "millrace-demo"

        status, output = self.run_demo(*harness.AS_ORDINARY_USER, repository=checkout, MILLRACE_BIN="",
                                       MILLRACE_DEMO_DATA="", XDG_CACHE_HOME=str(cache), XDG_DATA_HOME=str(home))
        self.assertEqual(status, 0, output)
        self.assertIn("not root: the functions are plain processes", output)
        self.assertEqual({name: row["OUTCOMES"] for name, row in self.rows(output).items()},
                         {"keyframes": "1 succeeded", "people": f"{FRAMES} succeeded"})

    def test_readme_shows_such_a_table(self):
        self.assertEqual(set(self.rows((harness.REPOSITORY / "README.md").read_text())), {"keyframes", "people"})

    def test_a_directory_of_somebody_else_is_left_alone(self):
        self.data.mkdir()
        (self.data / "precious").write_text("x")
        status, output = self.run_demo()
        self.assertEqual(status, 1)
        self.assertIn(f"{self.data} exists and was not made by this script", output)
        self.assertEqual([path.name for path in self.data.iterdir()], ["precious"])

    def test_wrong_numbers_are_refused(self):
        for frames in ("0", "-1", "many", "1000000"):
            with self.subTest(frames):
                status, output = self.run_demo(N=frames)
                self.assertEqual(status, 1)
                self.assertIn(f"N={frames}: expected a number of frames", output)
        for wanted, message in (({"REPLICAS": "0"}, "REPLICAS=0: expected a number of workers"),
                                ({"REPLICAS": "3", "BROKER": "nats://127.0.0.1:1"}, "leave one of them out")):
            status, output = self.run_demo(**wanted)
            self.assertEqual(status, 1)
            self.assertIn(message, output)
        self.assertFalse(self.data.exists())


if __name__ == "__main__":
    harness.main()
