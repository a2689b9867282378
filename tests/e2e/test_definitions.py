"""Definitions that are wrong: refused at apply, with the place and a way out, and nothing is changed."""
import json
import os

import harness


class Definitions(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.server = self.start_server()

    def refused(self, text, *expected, status=2):
        file = self.folder / "functions.yaml"
        file.write_text(text)
        done = self.server.cli("apply", str(file), status=status)
        message = done.stderr.decode()
        self.assertTrue(message.startswith("millrace: "), message)
        for part in expected:
            self.assertIn(part, message)
        self.assertEqual(self.server.ask("ls")["functions"], [])
        self.assertEqual(self.server.cli("check", str(file), status=status).stderr, done.stderr)
        # Whoever talks HTTP is told the same.
        answer = self.server.request("POST", "/api/v1/functions", text.encode())
        self.assertEqual((answer.status, answer.json()["error"]["code"]), (400, "invalid_argument"), answer.body)

    def test_unknown_field(self):
        self.refused("functions:\n  millrace:\n  - name: a\n    scirpt: |\n      true\n",
                     "functions.yaml", "line 4", "scirpt", "'script'")

    def test_type_error(self):
        self.refused("functions:\n  millrace:\n  - name: a\n    script: |\n      true\n    memory: 5 apples\n",
                     "functions.yaml", "line 6", "memory", "5 apples")

    def test_every_mistake_is_told_at_once(self):
        self.refused("functions:\n  millrace:\n  - name: A!\n    script: |\n      true\n    timeout: soon\n    retries: -1\n",
                     "line 3", "line 6", "line 7")

    def test_not_yaml(self):
        self.refused("functions: [\n", "functions.yaml", "line")

    def test_missing_script(self):
        self.refused("functions:\n  millrace:\n  - name: a\n    script: nowhere.sh\n", "line 4", "nowhere.sh",
                     "No such file")

    def test_script_without_interpreter(self):
        self.refused("functions:\n  millrace:\n  - name: a\n    script: |\n      #!\n      true\n", "interpreter")

    def test_missing_file(self):
        self.server.cli("apply", str(self.folder / "none.yaml"), status=2)

    def test_own_loop(self):
        self.refused("functions:\n  millrace:\n  - {name: a, script: \"true\\n\", input: [pics], output: [pics/out]}\n",
                     "a", "pics/out", "pics")

    def test_loop_through_another(self):
        self.refused("functions:\n  millrace:\n"
                     "  - {name: a, script: \"true\\n\", input: [x], output: [y]}\n"
                     "  - {name: b, script: \"true\\n\", input: [y], output: [x/sub]}\n", "x/sub")

    def test_declared_recursion_runs_so_deep_and_no_deeper(self):
        script = 'n=$(cat "$INPUT_FILE_PATH"); echo $((n + 1)) >"$TMP_OUTPUT_DIR/n$n"\n'
        self.server.apply({"name": "a", "script": script, "input": ["x"], "output": ["x"], "recursion": {"max_depth": 3}})
        self.server.drop("x", "start", b"0\n")
        self.server.wait_idle()
        outcomes = sorted(run["outcome"] for run in self.server.runs("a"))
        self.assertEqual(outcomes, ["dead_lettered"] + ["succeeded"] * 4)

    def test_unknown_image(self):
        self.refused("functions:\n  millrace:\n  - name: a\n    image: docker.io/library/nothing:1\n    script: |\n      true\n",
                     "docker.io/library/nothing:1", "image: host")

    def test_more_memory_than_the_machine_has(self):
        self.refused("functions:\n  millrace:\n  - name: a\n    memory: 8Ti\n    script: |\n      true\n", "memory", "8Ti",
                     "is more than any node has for functions: the most is ")

    def test_more_cpu_than_the_machine_has(self):
        cores = len(os.sched_getaffinity(0))
        self.refused(f"functions:\n  millrace:\n  - name: a\n    cpu: {cores}.001\n    script: |\n      true\n",
                     f"cpu: {cores}001m", f"the most is {cores} on node ")
        self.server.apply({"name": "a", "script": "true\n", "cpu": str(cores)})

    def assert_cannot_start(self, interpreter, why):
        """It is known when the function starts, and then at once: no attempt can succeed."""
        self.server.apply({"name": "a", "script": f"#!{interpreter}\nprint(1)\n", "input": ["in"]})
        done = self.server.cli("run", "a", status=2)
        self.assertIn(f"interpreter '{interpreter}' of the script {why}".encode(), done.stderr)
        self.assertEqual(self.server.request("POST", "/api/v1/functions/a/invoke", b"").status, 400)

        self.server.drop("in", "a", b"x")
        self.server.wait_idle()
        run, = [run for run in self.server.runs("a") if "input" in run]
        self.assertEqual((run["outcome"], run["failures"]), ("dead_lettered", 0))
        self.assertIn(interpreter, run["reason"])

    def test_interpreter_that_the_image_lacks(self):
        self.assert_cannot_start("/nowhere/python", "does not exist in image 'host'")

    def test_interpreter_that_is_no_program(self):
        self.assert_cannot_start("/etc/os-release", "cannot be executed")

    def test_script_needs_no_execute_bit(self):
        script = self.folder / "plain.sh"
        script.write_text("#!/bin/sh\necho plain\n")
        script.chmod(0o444)
        (self.folder / "f.yaml").write_text("functions:\n  millrace:\n  - {name: plain, script: plain.sh}\n")
        self.server.cli("apply", str(self.folder / "f.yaml"))
        self.assertEqual(self.server.cli("run", "plain").stdout, b"plain\n")

    def test_variable_that_the_server_sets_itself(self):
        self.refused("functions:\n  millrace:\n  - name: a\n    script: |\n      true\n    environment:\n      MINE: 1\n"
                     "      INPUT_FILE_PATH: /mine\n", "line 7", "'INPUT_FILE_PATH' is set by the server",
                     "docs/reference/functions.md")

    def test_bucket_that_cannot_be_written_or_made(self):
        """Known before anything is changed, whether the bucket is there or would have to be made."""
        self.server.stop()
        closed = self.folder / "closed"
        closed.mkdir(mode=0o755)  # by root: not for the daemon to write
        self.server.options["--buckets"] = f"elsewhere={closed}/a/b"
        self.server.start()
        self.server.bucket("closed").mkdir(mode=0o755)
        for fields, place in (({"input": ["closed"]}, self.server.bucket("closed")),
                              ({"input": ["in"], "output": ["fine", "closed/folder"]}, self.server.bucket("closed")),
                              ({"input": ["elsewhere"]}, f"{closed}/a/b"), ({"output": ["elsewhere"]}, f"{closed}/a/b")):
            document = json.dumps({"functions": {"millrace": [{"name": "f", "script": "true\n", **fields}]}}).encode()
            for arguments in (("apply", "--check", "-"), ("apply", "-"), ("check", "-")):
                with self.subTest(fields, arguments=arguments):
                    message = self.server.cli(*arguments, stdin=document, status=1).stderr.decode()
                    self.assertIn(str(place), message)
                    self.assertRegex(message, r"Permission denied; give user \d+, whom the server runs as, the right")
        self.assertEqual(self.server.ask("ls")["functions"], [])
        self.assertEqual([path.name for path in self.server.bucket("").iterdir() if path.name != ".millrace"], ["closed"])
        self.assertEqual(list(closed.iterdir()), [])

    def test_one_mistake_stops_the_whole_apply(self):
        self.refused("functions:\n  millrace:\n  - {name: good, script: \"true\\n\"}\n"
                     "  - {name: a, script: \"true\\n\", input: [p], output: [p]}\n", "a: p -> a")

    def test_windows_line_ends_and_one_line_scripts(self):
        (self.folder / "dos.sh").write_bytes(b"#!/bin/sh\r\necho dos\r\n")
        (self.folder / "line.sh").write_bytes(b"echo line")
        (self.folder / "f.yaml").write_text(
            "functions:\n  millrace:\n  - {name: dos, script: dos.sh}\n  - {name: line, script: line.sh}\n")
        self.server.cli("apply", str(self.folder / "f.yaml"))
        self.assertEqual(self.server.cli("run", "dos").stdout, b"dos\n")
        self.assertEqual(self.server.cli("run", "line").stdout, b"line\n")


if __name__ == "__main__":
    harness.main()
