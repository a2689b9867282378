"""What a function meets, as docs/guides/functions.md tells its author."""
import re

import harness

GUIDE = harness.REPOSITORY / "docs" / "guides" / "functions.md"
ALWAYS = {"HOME", "INPUT_FILE", "INPUT_FILE_PATH", "FILE_NAME", "JOB_UUID", "LC_CTYPE", "MILLRACE_EVENT_ID", "MILLRACE_EVENT_SOURCE",
          "MILLRACE_EVENT_TYPE", "MILLRACE_FUNCTION",
          "MILLRACE_RUN_ID", "OSCAR_SERVICE_NAME", "PATH", "REQUEST_ID", "RESOURCE_ID", "SCRIPT", "TMPDIR", "TMP_INPUT_DIR",
          "TMP_OUTPUT_DIR"}
PRINT_ENVIRONMENT = "cat /proc/self/environ\n"
OF_THE_SHELL = {"PWD", "OLDPWD", "SHLVL", "_"}


def variables(environment):
    found = dict(line.split("=", 1) for line in environment.decode().split("\0") if line)
    return {name: value for name, value in found.items() if name not in OF_THE_SHELL}


class Functions(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.server = self.start_server()

    def outcome(self, name, script, **fields):
        """How a call of this function ends."""
        self.server.apply({"name": name, "script": script, "retries": 0, **fields})
        self.server.cli("run", name, status=None)
        run, = self.server.runs(name)
        return run

    def test_example_of_the_guide(self):
        definition = re.search(r"^```yaml\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)[1]
        script = re.search(r"^```bash\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)[1]
        (self.folder / "functions.yaml").write_text(definition)
        (self.folder / "count.sh").write_text(script)
        self.server.cli("apply", str(self.folder / "functions.yaml"))
        self.server.drop("texts", "a.txt", b"one two three\n")
        self.server.wait_idle()
        self.assert_one_output(self.server, "counts", "a.txt.words", b"3\n")

    def test_environment_of_a_call(self):
        self.server.apply({"name": "env", "script": PRINT_ENVIRONMENT, "environment": {"OWN": "1", "HOME": "/opt"}})
        found = variables(self.server.cli("run", "env", stdin=b"sent").stdout)
        self.assertEqual(set(found), ALWAYS | {"EVENT", "MILLRACE_EVENT_CONTENT_TYPE", "OWN"})
        self.assertEqual((found["OWN"], found["HOME"], found["EVENT"]), ("1", "/opt", "sent"))
        self.assertEqual((found["MILLRACE_FUNCTION"], found["TMP_OUTPUT_DIR"]), ("env", "/tmp/out"))
        self.assertEqual(found["MILLRACE_RUN_ID"], self.server.runs("env")[0]["run_id"])
        self.assertEqual(found["FILE_NAME"], "event-file-" + found["MILLRACE_RUN_ID"])
        self.assertNotIn("EVENT", variables(self.server.cli("run", "env", stdin=b"a\0b").stdout))
        self.assertNotIn("EVENT", variables(self.server.cli("run", "env", stdin=b"x" * (128 << 10)).stdout))

    def test_environment_of_a_file(self):
        self.server.apply({"name": "env", "script": "cat /proc/self/environ >$TMP_OUTPUT_DIR/env\ncat >$TMP_OUTPUT_DIR/stdin\n",
                           "input": ["in/deep"], "output": ["out"]})
        self.server.cli("put", __file__, "in/deep/a.txt")
        self.server.wait_idle()
        found = variables((self.server.bucket("out") / "env").read_bytes())
        self.assertEqual(set(found), ALWAYS | {"EVENT", "EVENT_TIME", "MILLRACE_EVENT_SUBJECT", "STORAGE_OBJECT_KEY"})
        self.assertEqual((found["FILE_NAME"], found["STORAGE_OBJECT_KEY"]), ("a.txt", "deep/a.txt"))
        self.assertEqual((found["INPUT_FILE_PATH"], found["HOME"]), ("/tmp/in/a.txt", "/tmp"))
        self.assert_one_output(self.server, "out", "stdin", found["EVENT"].encode())

    def test_process_1_ignores_what_it_does_not_handle(self):
        run = self.outcome("plain", "#!/bin/sh\necho $$\nsleep 1000\n", timeout="2s", grace="300ms")
        self.assertEqual((run["reason"], run["signal"]), ("ran longer than 2s", 9))
        self.assertGreaterEqual(run["usage"]["wall_us"], 2_300_000)
        self.assertEqual(self.server.cli("logs", run["run_id"]).stdout, b"1\n")

        run = self.outcome("told", "#!/bin/sh\ntrap 'exit 1' TERM; sleep 1000 & wait\n", timeout="2s", grace="10m")
        self.assertEqual((run["reason"], run["exit_code"]), ("ran longer than 2s", 1))

        run = self.outcome("unhurt", "#!/bin/sh\nkill -SEGV $$; kill -9 $$; exit 5\n")
        self.assertEqual((run["exit_code"], run["signal"]), (5, 0))

    def test_process_1_crashes_as_any_other(self):
        run = self.outcome("crash", "#!/usr/bin/python3\nimport ctypes\nctypes.string_at(0)\n")
        self.assertEqual((run["outcome"], run["signal"]), ("failed", 11))
        run = self.outcome("abort", "#!/usr/bin/python3\nimport os\nos.abort()\n")
        self.assertEqual((run["outcome"], run["signal"]), ("failed", 11))
        run = self.outcome("child", "#!/bin/sh\nsh -c 'kill -TERM $$'\nexit $?\n")
        self.assertEqual(run["exit_code"], 128 + 15)

    def test_codes_of_sysexits_are_final(self):
        self.server.apply({"name": "final", "script": "exit $(cat)\n", "retries": 1, "retry": {"base": "10ms"}})
        attempts = {}
        for code in (63, 64, 78, 79):
            self.server.cli("run", "final", "--async", stdin=str(code).encode())
        self.server.wait_idle()
        for run in self.server.runs("final"):
            attempts[run["exit_code"]] = run["failures"]
        self.assertEqual(attempts, {63: 2, 64: 1, 78: 1, 79: 2})


if __name__ == "__main__":
    harness.main()
