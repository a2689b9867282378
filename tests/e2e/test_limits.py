"""Limits on a host that cannot enforce them: those of an author are refused, defaults are dropped and named."""
import re
import subprocess

import harness


class MissingLimits(harness.TestCase):
    def setUp(self):
        super().setUp()
        # An ordinary user may not make cgroups.
        self.server = self.make_ordinary_server({"--allow-missing-isolation": "yes"}).start()

    def apply(self, status, **fields):
        return self.server.apply({"name": "f", "script": "echo hi\n", "executor": "process", **fields}, status=status)

    def test_limit_of_the_author_is_refused(self):
        for limit in ({"memory": "64Mi"}, {"limits": {"pids": 10}}, {"limits": {"cpu": "500m"}}):
            with self.subTest(limit):
                message = self.apply(1, **limit).stderr.decode()
                self.assertRegex(message, r"'f': [\w.]+: \w+ cannot be enforced on this host: .+; .*remove the limit")
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

    def test_check_names_what_is_missing(self):
        done = subprocess.run([*self.server.wrapper, self.server.program, "check", "--data", str(self.server.data)],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        states = dict(re.findall(r"^(\w+) +(\w+)", done.stdout, re.MULTILINE))
        for control in ("memory", "pids", "cpu_quota", "isolation", "seccomp"):
            self.assertEqual(states[control], "missing", done.stdout)


if __name__ == "__main__":
    harness.main()
