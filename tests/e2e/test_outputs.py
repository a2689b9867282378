"""What functions leave behind, honest and hostile, and the names it appears under."""
import json
import os
import pathlib
import pwd
import shutil
import stat
import tempfile

import harness


class Outputs(harness.TestCase):
    def start_with(self, *functions):
        server = self.start_server()
        server.apply(*functions)
        return server

    def test_only_regular_files_come_out(self):
        script = ('#!/bin/sh\ncd "$TMP_OUTPUT_DIR"\necho good >good\nln -s /etc/passwd link\nln -s .. up\nmkfifo fifo\n'
                  'mknod device c 1 3 2>/dev/null\nmkdir -p sub/deep empty\necho deep >sub/deep/file\n'
                  'ln good twin\nchmod 6755 good\n')
        server = self.start_with({"name": "mixed", "script": script, "input": ["in"], "output": ["out"]})
        server.drop("in", "a", b"x")
        server.wait_idle()
        self.assertEqual(server.names("out"), {b"good", b"twin", b"sub/deep/file"})
        run = server.runs("mixed")[0]
        self.assertEqual(run["outcome"], "succeeded")
        log = server.cli("logs", run["run_id"]).stdout.decode()
        for name in ("link", "up", "fifo"):
            self.assertRegex(log, f"output refused: .*{name}")
        good = os.stat(server.bucket("out") / "good")
        self.assertTrue(stat.S_ISREG(good.st_mode))
        self.assertEqual(good.st_mode & 0o7000, 0)

    def test_output_whose_name_is_a_directory(self):
        script = '#!/bin/sh\necho 1 >"$TMP_OUTPUT_DIR/taken"\necho 2 >"$TMP_OUTPUT_DIR/free"\n'
        server = self.start_with({"name": "two", "script": script, "input": ["in"], "output": ["out"]})
        (server.bucket("out") / "taken").mkdir()
        server.drop("in", "a", b"x")
        server.wait_idle()
        self.assert_one_output(server, "out", "free", b"2\n")
        letters = server.ask("redrive", "two", "--list")["dead_letters"]
        self.assertEqual(len(letters), 1)
        self.assertIn("cannot_place", letters[0]["reason"])
        self.assertRegex(letters[0]["reason"], "out.*taken.*directory")
        run = server.runs("two")[0]["run_id"]
        for words in ("why", run), ("runs", run), ("runs",):
            self.assertIn(b"redrive two --list", server.cli(*words).stdout, words)
        self.assertIn(b"redrive two --list", server.cli("wait", run, "--timeout", "100ms", status=6).stderr)

        (server.bucket("out") / "taken").rmdir()
        self.assertEqual(server.ask("redrive", "two")["redriven"], 1)
        server.wait_idle()
        self.assert_one_output(server, "out", "taken", b"1\n")
        self.assertEqual(len(server.runs("two")), 1)  # it did not run again
        self.assertEqual(server.ask("redrive", "two", "--list")["dead_letters"], [])

    def test_of_two_inputs_with_one_output_name_the_later_stands(self):
        # The first is slow: it ends after the second.
        script = ('#!/bin/sh\nif grep -q first "$INPUT_FILE_PATH"; then sleep 1; fi\n'
                  'cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/result"\n')
        server = self.start_with({"name": "same", "script": script, "input": ["in"], "output": ["out"],
                                  "memory": "32Mi", "cpu": "50m"})
        server.cli("put", "-", "in/a", stdin=b"first")
        server.cli("put", "-", "in/b", stdin=b"second")
        server.wait_idle()
        self.assertEqual([run["outcome"] for run in server.runs("same")], ["succeeded"] * 2)
        self.assert_one_output(server, "out", "result", b"second")

    def test_replaced_output_keeps_the_private_copy_for_the_next_stage(self):
        second = '#!/bin/sh\nsleep 1\ncp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"\n'
        server = self.start_with(
            {"name": "one", "script": harness.COPY, "input": ["in"], "output": ["mid"]},
            {"name": "two", "script": second, "input": ["mid"], "output": ["out"]})
        server.drop("in", "a", b"made by one")
        harness.until(lambda: b"a" in server.names("mid"), "the first stage is over")
        os.unlink(server.bucket("mid") / "a")
        server.wait_idle()
        self.assert_one_output(server, "out", "a", b"made by one")

    def test_prefix_and_suffix_choose(self):
        script = '#!/bin/sh\ncd "$TMP_OUTPUT_DIR"\ntouch a.jpg b.jpg a.json notes.txt\n'
        server = self.start_with({"name": "sort", "script": script, "input": ["in"], "output": [
            {"path": "pictures", "suffix": [".jpg"]}, {"path": "all-a/sub", "prefix": ["a"]}]})
        server.drop("in", "x", b"")
        server.wait_idle()
        self.assertEqual(server.names("pictures"), {b"a.jpg", b"b.jpg"})
        self.assertEqual(server.names("all-a"), {b"sub/a.jpg", b"sub/a.json"})

    def test_chain_is_told_by_why(self):
        server = self.start_with(
            {"name": "one", "script": harness.COPY, "input": ["in"], "output": ["mid"]},
            {"name": "two", "script": harness.COPY, "input": ["mid"], "output": ["out"]})
        server.drop("in", "a", b"x")
        server.wait_idle()
        last = server.runs("two")[0]
        lines = server.cli("why", last["run_id"]).stdout.decode().splitlines()
        self.assertEqual(len(lines), 2, lines)
        self.assertIn("in/a -> mid/a", lines[0])
        self.assertTrue(lines[1].startswith("└─ two succeeded"), lines)
        self.assertIn("mid/a -> out/a", lines[1])

    def elsewhere(self, parent):
        """A folder of the daemon's user outside of the data directory."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-e2e-bucket-", dir=parent))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        user = pwd.getpwnam(harness.USER)
        os.chown(folder, user.pw_uid, user.pw_gid)
        folder.chmod(0o755)
        return folder

    def test_buckets_may_lie_elsewhere(self):
        inputs, outputs = self.elsewhere("/var/tmp"), self.elsewhere("/dev/shm")
        server = self.start_server({"--buckets": f"in={inputs},out={outputs}"})
        server.apply({"name": "copy", "script": harness.COPY, "input": [{"path": "in"}], "output": [{"path": "out"}]})
        (inputs / "a").write_bytes(b"x")
        server.wait_idle()
        self.assertEqual((outputs / "a").read_bytes(), b"x")

    def test_outputs_on_two_file_systems_are_refused(self):
        here, far = self.elsewhere("/var/tmp"), self.elsewhere("/dev/shm")
        server = self.start_server({"--buckets": f"here={here},far={far}"})
        refused = server.apply({"name": "both", "script": harness.COPY, "input": [{"path": "in"}],
                                "output": [{"path": "here"}, {"path": "far"}]}, status=1)
        self.assertIn(f"buckets 'here' ({here}) and 'far' ({far}) are on different file systems",
                      refused.stderr.decode())
        self.assertEqual(server.ask("ls")["functions"], [])


if __name__ == "__main__":
    harness.main()
