"""Records of runs go when they are old, and what somebody may still need of them stays."""
import subprocess

import harness

FAIL_ON_DEMAND = """#!/bin/sh
if test -e "{mark}"; then cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"; else exit 64; fi
"""


class Retention(harness.TestCase):
    def restart_aged(self, server, days):
        server.stop()
        server.age_records(days)
        server.start()

    def private_copies(self, server, bucket):
        """Files in the directories of attempts."""
        attempts = (server.bucket(bucket) / ".millrace").glob("[0-9a-f][0-9a-f]/*")
        return sorted(path.name for attempt in attempts for path in attempt.rglob("*") if path.is_file())

    def metric(self, server, name):
        for line in server.request("GET", "/metrics").body.decode().splitlines():
            if line.startswith(name + " "):
                return int(line.rsplit(" ", 1)[1])
        return None

    def removed(self, server):
        return self.metric(server, 'millrace_retention_removed_total{what="run"}')

    def test_old_records_go_with_their_private_copies(self):
        server = self.start_server()
        server.apply({"name": "first", "script": harness.COPY, "input": ["in"], "output": ["mid"]},
                     {"name": "second", "script": harness.COPY, "input": ["mid"], "output": ["out"]})
        for name in ("a", "b"):
            server.drop("in", name, name.encode())
        harness.until(lambda: len(server.names("out")) == 2, "both came through")
        server.wait_idle()
        self.assertEqual(len(server.runs()), 4)
        self.assertEqual(self.private_copies(server, "mid"), ["a", "b"])
        self.restart_aged(server, 29)
        server.drop("in", "c", b"c")
        harness.until(lambda: len(server.names("out")) == 3, "the third came through")
        server.wait_idle()
        self.assertEqual(len(server.runs()), 6)

        self.restart_aged(server, 2)
        harness.until(lambda: self.removed(server) == 4, "the four old ones go")
        self.assertEqual({run["input"]["key"] for run in server.runs()}, {"c"})
        self.assertEqual(self.private_copies(server, "mid"), ["c"])
        self.assertEqual(self.private_copies(server, "out"), ["c"])
        for bucket in ("in", "mid", "out"):  # the users' files
            self.assertEqual(server.names(bucket), {b"a", b"b", b"c"})
            self.assert_one_output(server, bucket, "a", b"a")
        self.assertIn("old records removed", server.log())
        # The objects are there and their runs on no record: nothing of that is news.
        server.restart()
        server.wait_idle()
        self.assertEqual({run["input"]["key"] for run in server.runs()}, {"c"})

    def test_a_dead_letter_keeps_its_input(self):
        mark = self.folder / "mark"
        server = self.start_server()
        common = {"executor": "process"}  # which sees the mark
        server.apply({"name": "first", "script": harness.COPY, "input": ["in"], "output": ["mid"], **common},
                     {"name": "second", "script": FAIL_ON_DEMAND.format(mark=mark), "input": ["mid"], "output": ["out"],
                      **common})
        server.drop("in", "a", b"the content")
        harness.until(lambda: any(run["outcome"] == "dead_lettered" for run in server.runs("second")), "it is given up")
        server.wait_idle()
        (server.bucket("mid") / "a").unlink()  # the user has no use for it: the copy is ours
        self.restart_aged(server, 100)
        harness.until(lambda: self.metric(server, "millrace_retention_held_runs") == 2, "both are old and needed")
        self.assertEqual(self.removed(server), 0)
        self.assertEqual(len(server.runs()), 2)
        mark.touch()
        server.cli("redrive", "second")
        harness.until(lambda: server.names("out") == {b"a"}, "it succeeds")
        server.wait_idle()
        self.assert_one_output(server, "out", "a", b"the content")
        self.restart_aged(server, 100)
        harness.until(lambda: self.removed(server) == 3, "nobody needs any of it")
        self.assertEqual(server.runs(), [])
        self.assertEqual(self.private_copies(server, "mid"), [])
        self.assert_one_output(server, "out", "a", b"the content")

    def test_bounds_of_the_options(self):
        for option, value, expected in (("--runs-kept-for", "59m", "between 1h and 3650d"),
                                        ("--runs-max", "99", "not a number from 100"),
                                        ("--runs-kept-for", "30", "duration")):
            done = subprocess.run([harness.BIN, "serve", "--data", str(self.folder / "data"), option, value],
                                  capture_output=True, timeout=60, check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(expected, done.stderr.decode(), option)


if __name__ == "__main__":
    harness.main()
