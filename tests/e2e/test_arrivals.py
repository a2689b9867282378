"""Files reach a bucket in every way users have, under every name they use; each arrival is one run."""
import os
import subprocess
import time

import harness

SIZE = '#!/bin/sh\nstat -c %s "$INPUT_FILE_PATH" >"$TMP_OUTPUT_DIR/$(basename -- "$INPUT_FILE_PATH").size"\n'
ODD_NAMES = [b"with blank", b"-rf", b"--help", b"line\nbreak", "grün 猫.txt".encode(), b"two..", b"a..b", b"quote'\"$(x)`;&",
             b"tab\there", b"not-\xff-utf8", b"%41%2e", b"x" * 200]


class Arrivals(harness.TestCase):
    def start_copier(self):
        server = self.start_server()
        server.apply({"name": "copy", "script": harness.COPY, "input": ["in"], "output": ["out"], "retries": 0})
        return server

    def assert_superseded(self, runs):
        """The run on the old content ends well or is skipped, before or after the one on the new content succeeds."""
        outcomes = sorted(run["outcome"] for run in runs)
        self.assertIn(outcomes, (["succeeded", "succeeded"], ["skipped", "succeeded"]), runs)

    def inputs(self, server):
        return sorted(run["input"]["key"] for run in server.runs("copy"))

    def test_write_rename_link_and_copy(self):
        server = self.start_copier()
        bucket = server.bucket("in")
        server.drop("in", "written", b"1")

        outside = self.folder / "outside"
        outside.write_bytes(b"2")
        os.rename(outside, bucket / "moved")

        linked = self.folder / "linked"
        linked.write_bytes(b"3")
        os.link(linked, bucket / "linked")

        old = self.folder / "old"
        old.write_bytes(b"4")
        os.utime(old, (1e9, 1e9))
        subprocess.run(["cp", "-a", str(old), str(bucket / "copied")], check=True)

        folder = self.folder / "folder"
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "file").write_bytes(b"5")
        os.rename(folder, bucket / "folder")

        server.wait_idle()
        self.assertEqual(self.inputs(server), ["copied", "folder/deep/file", "linked", "moved", "written"])
        for name, content in (("written", b"1"), ("moved", b"2"), ("linked", b"3"), ("copied", b"4"), ("file", b"5")):
            self.assert_one_output(server, "out", name, content)

    def test_what_was_there_before_the_function_does_not_start_it(self):
        server = self.start_copier()
        server.cli("put", "--make-bucket", "-", "other/early", stdin=b"x")
        server.apply({"name": "late", "script": harness.COPY, "input": ["other"], "output": ["out"]})
        server.cli("put", "-", "other/after", stdin=b"y")
        server.wait_idle()
        self.assertEqual([run["input"]["key"] for run in server.runs("late")], ["after"])

    def test_arrivals_while_down_run_at_the_next_start(self):
        server = self.start_copier()
        server.drop("in", "seen", b"seen")
        server.wait_idle()
        server.stop()
        server.drop("in", "down", b"down")
        os.utime(server.drop("in", "old", b"old"), (1e9, 1e9))
        server.start()
        server.wait_idle()
        self.assertEqual(self.inputs(server), ["down", "old", "seen"])
        server.restart()
        server.wait_idle()
        self.assertEqual(self.inputs(server), ["down", "old", "seen"])

    def test_changed_file_runs_again_and_untouched_one_does_not(self):
        server = self.start_copier()
        server.drop("in", "a", b"one")
        server.drop("in", "b", b"stays")
        server.wait_idle()
        server.drop("in", "a", b"two!")
        server.wait_idle()
        self.assertEqual(self.inputs(server), ["a", "a", "b"])
        self.assert_one_output(server, "out", "a", b"two!")

    def test_odd_names(self):
        server = self.start_copier()
        for number, name in enumerate(ODD_NAMES):
            server.drop("in", name, b"content %d" % number)
        server.wait_idle()
        self.assertEqual(server.names("out"), set(ODD_NAMES))
        for number, name in enumerate(ODD_NAMES):
            self.assert_one_output(server, "out", name, b"content %d" % number)

    def test_odd_names_by_the_client(self):
        server = self.start_copier()
        for number, name in enumerate(ODD_NAMES):
            server.cli("put", "--", "-", b"in/" + name, stdin=b"content %d" % number)
        server.wait_idle()
        self.assertEqual(server.names("out"), set(ODD_NAMES))
        for number, name in enumerate(ODD_NAMES):
            self.assertEqual(server.cli("get", "--", b"out/" + name).stdout, b"content %d" % number)

    def test_ways_out_of_the_bucket_are_refused(self):
        server = self.start_copier()
        for path in ("/api/v1/buckets/in/objects/..%2f..%2fadmin-token", "/api/v1/buckets/in/objects/a/../../x",
                     "/api/v1/buckets/in/objects/.millrace/x", "/api/v1/buckets/..%2f/objects/x",
                     "/api/v1/buckets/in/objects//abs", "/api/v1/buckets/in/objects/%00"):
            with self.subTest(path):
                self.assertIn(server.request("PUT", path, b"x").status, (400, 404))
                self.assertIn(server.request("GET", path).status, (400, 404))
        (server.bucket("in") / "escape").symlink_to(server.data / "admin-token")
        (server.bucket("in") / "folder").symlink_to(server.data)
        self.assertNotEqual(server.request("GET", "/api/v1/buckets/in/objects/escape").status, 200)
        self.assertNotEqual(server.request("GET", "/api/v1/buckets/in/objects/folder/admin-token").status, 200)
        server.wait_idle()
        self.assertEqual(server.runs(), [])

    def test_links_devices_and_folders_are_no_objects(self):
        server = self.start_copier()
        bucket = server.bucket("in")
        (bucket / "link").symlink_to("/etc/passwd")
        os.mkfifo(bucket / "fifo")
        os.mknod(bucket / "null", 0o666 | 0o020000, os.makedev(1, 3))
        (bucket / "folder").mkdir()
        server.drop("in", ".hidden", b"x")
        server.drop("in", "upload.part", b"x")
        server.drop("in", "good", b"good")
        server.wait_idle()
        self.assertEqual(self.inputs(server), ["good"])

    def test_empty_file(self):
        server = self.start_copier()
        server.drop("in", "empty", b"")
        server.cli("put", "-", "in/empty-too", stdin=b"")
        server.wait_idle()
        self.assertEqual(self.inputs(server), ["empty", "empty-too"])
        self.assert_one_output(server, "out", "empty", b"")
        self.assert_one_output(server, "out", "empty-too", b"")

    def test_five_gibibytes(self):
        server = self.start_server()
        server.apply({"name": "size", "script": SIZE, "input": ["in"], "output": ["out"]})
        size = 5 << 30
        with open(self.folder / "big", "wb") as file:
            file.truncate(size)
        os.rename(self.folder / "big", server.bucket("in") / "big")
        server.wait_idle()
        self.assert_one_output(server, "out", "big.size", b"%d\n" % size)

    def test_a_file_is_taken_when_its_writer_closes_it(self):
        server = self.start_copier()
        with open(server.bucket("in") / "slow", "wb", buffering=0) as file:
            file.write(b"half")
            server.wait_idle()
            self.assertEqual(server.runs(), [])
            file.write(b" and half")
        server.wait_idle()
        self.assertEqual(self.inputs(server), ["slow"])
        self.assert_one_output(server, "out", "slow", b"half and half")

    def test_input_replaced_while_it_is_processed(self):
        server = self.start_server()
        slow = '#!/bin/sh\nsleep 1\ncp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"\n'
        server.apply({"name": "slow", "script": slow, "input": ["in"], "output": ["out"], "retries": 0})
        server.drop("in", "a", b"first")
        harness.until(lambda: any(run.get("state") == "running" for run in server.ask("runs")["runs"]), "the run goes on")
        (self.folder / "new").write_bytes(b"second")
        os.rename(self.folder / "new", server.bucket("in") / "a")
        server.wait_idle()
        self.assert_one_output(server, "out", "a", b"second")
        self.assert_superseded(server.runs("slow"))

    def test_input_rewritten_in_place_while_it_is_processed(self):
        server = self.start_server()
        slow = '#!/bin/sh\nsleep 1\ncp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"\n'
        server.apply({"name": "slow", "script": slow, "input": ["in"], "output": ["out"], "retries": 0})
        server.drop("in", "a", b"first")
        harness.until(lambda: any(run.get("state") == "running" for run in server.ask("runs")["runs"]), "the run goes on")
        server.drop("in", "a", b"second")
        server.wait_idle()
        self.assert_one_output(server, "out", "a", b"second")
        self.assert_superseded(server.runs("slow"))

    def test_input_removed_before_its_run_is_skipped(self):
        server = self.start_server()
        slow = '#!/bin/sh\nsleep 1\n'
        server.apply({"name": "slow", "script": slow, "input": ["in"], "concurrency": 1})
        server.drop("in", "a", b"first")
        harness.until(lambda: any(run.get("state") == "running" for run in server.ask("runs")["runs"]), "the run goes on")
        server.cli("put", "-", "in/b", stdin=b"x")
        os.unlink(server.bucket("in") / "b")
        server.wait_idle()
        self.assertEqual({run["input"]["key"]: run["outcome"] for run in server.runs("slow")},
                         {"a": "succeeded", "b": "skipped"})

    def test_copied_output_is_a_new_input(self):
        server = self.start_copier()
        server.drop("in", "a", b"x")
        server.wait_idle()
        subprocess.run(["cp", "-a", str(server.bucket("out") / "a"), str(server.bucket("in") / "again")], check=True)
        server.wait_idle()
        self.assertEqual(self.inputs(server), ["a", "again"])
        self.assert_one_output(server, "out", "again", b"x")

    def test_many_at_once(self):
        server = self.start_copier()
        for number in range(200):
            server.drop("in", f"file-{number}", b"%d" % number)
        begun = time.monotonic()
        server.wait_idle()
        print(f"200 runs in {time.monotonic() - begun:.1f} s")
        self.assertEqual(len(server.runs("copy")), 200)
        self.assertEqual(len(server.names("out")), 200)


if __name__ == "__main__":
    harness.main()
