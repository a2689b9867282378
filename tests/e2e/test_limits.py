"""Limits on a host that cannot enforce them: those of an author are refused, defaults are dropped and named."""
import json
import pwd
import re
import subprocess

import harness

STAMP = """#!/bin/sh
(id -u | tr -d '\\n'; printf ' '; cat "$INPUT_FILE_PATH") > "$TMP_OUTPUT_DIR/$(basename "$INPUT_FILE_PATH").stamp"
"""
TREE = """#!/bin/sh
setsid sleep 424242 &
sleep 424242
"""


class MissingLimits(harness.TestCase):
    def setUp(self):
        super().setUp()
        # An ordinary user may not make cgroups. That one who may make namespaces has more is test_rootless.py's.
        self.server = self.make_ordinary_server({"--allow-missing-isolation": "yes"}, namespaces=False).start()

    def apply(self, status, **fields):
        return self.server.apply({"name": "f", "script": "echo hi\n", "executor": "process", **fields}, status=status)

    def test_limit_of_the_author_is_refused(self):
        for limit in ({"memory": "64Mi"}, {"cpu": "300m"}, {"limits": {"pids": 10}}, {"limits": {"cpu": "500m"}}):
            with self.subTest(limit):
                message = self.apply(1, **limit).stderr.decode()
                self.assertRegex(message, r"'f': [\w.]+: \w+ cannot be enforced on this host: .+; .*remove the limit")
                self.assertEqual(message.count("start the server"), 1, message)
                self.assertEqual(self.server.ask("ls")["functions"], [])

    def test_default_is_dropped_and_named(self):
        message = self.apply(0).stderr.decode()
        self.assertRegex(message, r"warning: f: memory: \w+ \(default\) is not enforced on this host: ")
        self.assertRegex(message, r"warning: f: limits\.pids: \d+ \(default\) is not enforced on this host: ")
        self.assertEqual(self.server.cli("run", "f").stdout, b"hi\n")

    def test_ls_names_what_was_dropped(self):
        self.apply(0)
        listed = self.server.cli("ls")
        self.assertRegex((listed.stdout + listed.stderr).decode(), r"f: memory: \w+ \(default\) is not enforced")

    def check(self, *arguments):
        return subprocess.run(
            [*self.server.wrapper, self.server.program, "check", "--data", str(self.server.data), *arguments],
            capture_output=True, text=True, check=False)

    def test_check_names_what_is_missing(self):
        done = self.check()
        self.assertEqual(done.returncode, 1)
        states = dict(re.findall(r"^(\w+) +(\w+)", done.stdout, re.MULTILINE))
        for control in ("memory", "pids", "cpu_quota", "isolation", "seccomp"):
            self.assertEqual(states[control], "missing", done.stdout)
        self.assertRegex(done.stdout, r"\nTO HAVE MORE +ENABLES\n")
        self.assertRegex(done.stdout, r"\nsudo millrace serve +.*isolation, seccomp")

    def test_check_says_how_to_enable_whatever_is_missing(self):
        for control in json.loads(self.check("--output", "json").stdout)["checks"]:
            with self.subTest(control["name"]):
                # No command of ours makes a small disk larger.
                if control["state"] == "missing" and control["name"] != "free_space":
                    self.assertRegex(control["remedy"], r"^(sudo|systemd-run .*) ?millrace serve")
                if control["state"] == "real":
                    self.assertEqual(control["remedy"], "")

    def test_whatever_needs_more_is_refused_when_it_is_applied(self):
        for fields, expected in (({"executor": "container"}, "executor: container is not possible"),
                                 ({"executor": "oci"}, "executor: oci is not possible"),
                                 ({"image": "rootfs:/srv/image"}, "cannot be had with executor: process"),
                                 ({"profile": "compat"}, "cannot be had with executor: process"),
                                 ({"network": "private"}, "cannot be had with executor: process"),
                                 ({"secrets": {"KEY": "value"}}, "cannot be had with executor: process"),
                                 ({"files": {"/etc/motd": "hi"}}, "cannot be had with executor: process")):
            with self.subTest(fields):
                done = self.apply(None, **fields)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(expected, done.stderr.decode())
        self.assertEqual(self.server.ask("ls")["functions"], [])

    def test_functions_run_as_the_user_on_files_and_end_with_their_timeout(self):
        self.server.apply({"name": "stamp", "executor": "process", "script": STAMP,
                           "input": [{"path": "in"}], "output": [{"path": "out"}]})
        self.server.cli("put", "-", "in/a", stdin=b"content")
        self.server.wait_idle()
        uid = pwd.getpwnam(harness.USER).pw_uid
        self.assertEqual(self.server.cli("get", "out/a.stamp").stdout, b"%d content" % uid)

        self.server.apply({"name": "slow", "executor": "process", "timeout": "1s", "script": TREE})
        self.assertIn(b"ran longer than 1s", self.server.cli("run", "slow", status=None).stderr)
        self.assertEqual([pid for pid in harness.all_pids() if b"424242" in harness.read_proc(pid, "cmdline")], [])


if __name__ == "__main__":
    harness.main()
