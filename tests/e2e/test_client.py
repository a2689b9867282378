"""The client's manners: exit codes, results unadorned, whole files, output for programs."""
import subprocess

import harness


class Client(harness.TestCase):
    def test_version(self):
        told = subprocess.run([harness.BIN, "--version"], capture_output=True, text=True, check=True).stdout
        self.assertRegex(told, r"^millrace \d+\.\d+\.\d+\n$")
        longer = subprocess.run([harness.BIN, "version"], capture_output=True, text=True, check=True).stdout
        self.assertTrue(longer.startswith(told.strip() + " ("), longer)

    def test_exit_codes(self):
        server = self.start_server()
        server.cli("ls")
        server.cli("nonsense", status=2)
        server.cli("ls", "--nonsense", status=2)
        server.cli("put", "one", status=2)
        server.cli("wait", status=2)
        server.cli("ls", status=3, env={"MILLRACE_URL": "http://127.0.0.1:1"})
        server.cli("ls", status=4, env={"MILLRACE_TOKEN": "wrong"})
        server.cli("run", "nobody", status=5)
        server.cli("get", "none/x", status=5)
        server.cli("logs", "none", status=5)
        server.cli("why", "none", status=5)
        server.cli("redrive", "nobody", status=5)
        server.cli("runs", "-f", "nobody", status=5)
        server.cli("runs", "--follow", "-f", "nobody", status=5)
        server.cli("stats", "-f", "nobody", status=5)
        self.assertIn(b"did you mean 'topics'", server.cli("topcis", status=2).stderr)
        for command in ("", "apply", "ls", "rm", "run", "put", "get", "publish", "runs", "logs", "wait", "why", "redrive",
                        "topics", "cancel", "stats"):
            text = server.cli(*([command] if command else []), "--help").stdout
            self.assertIn(b"Usage:", text)
        self.assertIn(b"Exit codes:", server.cli("--help").stdout)

    def test_wait_that_was_too_short(self):
        server = self.start_server()
        server.apply({"name": "f", "script": "sleep 1000\n"})
        run = server.cli("run", "f", "--async").stdout.decode().strip()
        done = server.cli("wait", "--idle", "--timeout", "200ms", status=6)
        self.assertRegex(done.stderr, b"(1 queued|1 running)")
        server.cli("wait", run, "--timeout", "200ms", status=6)
        server.cli("cancel", run)
        server.wait_idle()

    def test_wait_ends_in_time_although_a_file_is_left_alone_for_an_hour(self):
        server = self.start_server()
        server.apply({"name": "f", "script": "true\n", "input": ["in"], "settle": "1h"})
        server.drop("in", "a", b"x")
        done = server.cli("wait", "--idle", "--timeout", "200ms", status=6)
        self.assertIn(b"files in the inputs are still looked at", done.stderr)

    def test_log_of_a_run_that_goes_on(self):
        server = self.start_server()
        server.apply({"name": "f", "script": "echo so far\nprintf '\\377\\n'\nsleep 1000\n"})
        run = server.cli("run", "f", "--async").stdout.decode().strip()

        def written():
            done = server.cli("logs", run, status=None)
            return done.returncode == 0 and done.stdout.count(b"\n") == 2 and done.stdout
        self.assertEqual(harness.until(written, "the log tells"), b"so far\n\xff\n")
        self.assertEqual(server.ask("logs", run)["log"], {"base64": "c28gZmFyCv8K"})
        server.cli("cancel", run)
        server.wait_idle()

    def test_run_sends_stdin_and_exits_like_the_function(self):
        server = self.start_server()
        server.apply({"name": "cat", "script": "cat\nexit $(wc -c <\"$INPUT_FILE_PATH\")\n"},
                     {"name": "argument", "script": "cat\n"})
        body = bytes(range(256)) * 100
        self.assertEqual(server.cli("run", "argument", stdin=body).stdout, body)
        file = self.folder / "body"
        file.write_bytes(body)
        self.assertEqual(server.cli("run", "argument", "--input", str(file)).stdout, body)
        self.assertEqual(server.cli("run", "argument", stdin=b"").stdout, b"")
        self.assertIn(b"1048576", server.cli("run", "argument", stdin=b"x" * ((1 << 20) + 1), status=None).stderr)

    def test_an_answer_that_is_cut_is_no_success(self):
        server = self.start_server()
        script = "head -c $(cat) /dev/zero | tr '\\0' x\n"
        server.apply({"name": "zeros", "script": script, "limits": {"result": "10"}},
                     {"name": "failing", "script": script + "exit 7\n", "limits": {"result": "10"}})
        whole = server.cli("run", "zeros", stdin=b"10")
        self.assertEqual((whole.stdout, whole.stderr), (b"x" * 10, b""))
        cut = server.cli("run", "zeros", "--id", "cut", stdin=b"11", status=1)
        self.assertEqual(cut.stdout, b"x" * 10)
        self.assertIn(b"zeros printed more than limits.result: its answer is cut after 10 bytes (run ", cut.stderr)
        self.assertIn(b"answer is cut", server.cli("run", "failing", stdin=b"11", status=7).stderr)
        self.assertEqual(server.cli("run", "zeros", "--id", "cut", stdin=b"11", status=1).stderr, cut.stderr)

        told = server.request("POST", "/api/v1/functions/zeros/invoke", b"11")
        self.assertEqual((told.status, told.getheader("X-Millrace-Result-Truncated")), (200, "true"))
        told = server.request("POST", "/api/v1/functions/zeros/invoke", b"10")
        self.assertEqual((told.status, told.getheader("X-Millrace-Result-Truncated")), (200, None))
        shown = [server.ask("runs", run["run_id"]).get("result_truncated", False) for run in server.runs("zeros")]
        self.assertEqual(shown, [False, True, True, False])

    def test_same_id_is_the_same_run(self):
        server = self.start_server()
        server.apply({"name": "f", "script": "date +%N\n"})
        first = server.cli("run", "f", "--id", "one").stdout
        self.assertEqual(server.cli("run", "f", "--id", "one").stdout, first)
        self.assertNotEqual(server.cli("run", "f", "--id", "two").stdout, first)
        self.assertEqual(len(server.runs("f")), 2)
        a = server.cli("run", "f", "--async", "--id", "three").stdout
        self.assertEqual(server.cli("run", "f", "--async", "--id", "three").stdout, a)
        server.wait_idle()
        self.assertEqual(len(server.runs("f")), 3)

    def test_an_id_that_is_empty_is_refused(self):
        # Of a variable that is not set: it would be a fresh one each time.
        server = self.start_server()
        server.apply({"name": "f", "script": "true\n"})
        for words in ("run", "f", "--id", ""), ("publish", "orders", "--id", "", "data"):
            self.assertIn(b"--id", server.cli(*words, status=2).stderr)
        for path in "/api/v1/functions/f/invoke", "/api/v1/topics/orders/events":
            answer = server.request("POST", path, b"data", {"Idempotency-Key": ""})
            self.assertEqual(answer.status, 400, path)
        self.assertEqual(server.runs("f"), [])

    def test_objects(self):
        server = self.start_server()
        content = bytes(range(256)) * 4096
        file = self.folder / "a file"
        file.write_bytes(content)
        server.cli("put", str(file), "none/x", status=5)
        server.cli("get", "none/x", str(self.folder / "none" / "x"), status=2)
        server.cli("put", "--make-bucket", str(file), "b")
        server.cli("put", str(file), str(file), "b/folder/")
        server.cli("put", "-", "b/", status=2)
        server.cli("put", str(self.folder), "b/x", status=2)
        server.cli("put", str(self.folder / "none"), "b/x", status=2)
        self.assertEqual([item["key"] for item in server.ask("ls", "b")["objects"]], ["a file", "folder/a file"])
        self.assertEqual([item["key"] for item in server.ask("ls", "b/fol")["objects"]], ["folder/a file"])
        self.assertEqual(server.cli("get", "b/a file").stdout, content)
        target = self.folder / "target"
        target.mkdir()
        server.cli("get", "b/a file", str(target))
        server.cli("get", "b/a file", str(target / "other"))
        server.cli("get", "b/none", str(target / "none"), status=5)
        self.assertEqual(sorted(path.name for path in target.iterdir()), ["a file", "other"])
        self.assertEqual((target / "other").read_bytes(), content)
        server.cli("rm", "b/a file", status=2)
        server.cli("rm", "--object", "b/a file")
        server.cli("get", "b/a file", status=5)
        self.assertIn(b"b\n", server.cli("ls", "--buckets").stdout)

    def test_publish_and_topics(self):
        server = self.start_server()
        answer = server.ask("publish", "news", "--text", "hello", "--id", "1")
        self.assertRegex(answer.pop("event_id"), "^[0-9a-f]{32}$")
        self.assertEqual(answer, {"topic": "news", "id": "1", "duplicate": False})
        self.assertEqual(server.ask("publish", "news", "--text", "hello", "--id", "1")["duplicate"], True)
        topics = {topic["name"]: topic for topic in server.ask("topics")["topics"]}
        self.assertEqual(topics["news"]["pending"], 1)
        server.cli("publish", "fn.x", "--text", "x", status=2)
        server.cli("publish", "Bad Name", "--text", "x", status=2)
        server.restart()
        self.assertEqual({topic["name"]: topic for topic in server.ask("topics")["topics"]}["news"]["pending"], 1)

    def test_stats(self):
        server = self.start_server()
        server.apply({"name": "f", "script": "exit $(cat \"$INPUT_FILE_PATH\")\n", "input": ["in"], "retries": 0})
        for number in range(4):
            server.drop("in", str(number), b"0" if number else b"9")
        server.wait_idle()
        stats = server.ask("stats")["functions"]
        self.assertEqual([entry["function"] for entry in stats], ["f"])
        self.assertEqual(stats[0]["outcomes"], {"dead_lettered": 1, "succeeded": 3})
        self.assertEqual(stats[0]["measured"], 4)
        self.assertLessEqual(stats[0]["wall_us"]["p50"], stats[0]["wall_us"]["p99"])
        text = server.cli("stats").stdout.decode()
        self.assertIn("1 dead_lettered, 3 succeeded", text)
        self.assertNotIn("\033", text)

    def test_lists_page_by_page(self):
        server = self.start_server()
        server.apply({"name": "f", "script": "true\n", "input": ["in"], "memory": "16Mi", "cpu": "10m"})
        (server.bucket("in") / "x").mkdir(exist_ok=True)
        for number in range(1100):
            server.drop("in", f"x/{number:04}", b"")
        server.wait_idle()
        self.assertEqual(len(server.ask("ls", "in", "--limit", "5000")["objects"]), 1100)
        cut = server.ask("ls", "in", "--limit", "1050")
        self.assertEqual((len(cut["objects"]), cut["truncated"]), (1050, True))
        runs = server.ask("runs", "--limit", "5000")
        self.assertEqual((len({run["run_id"] for run in runs["runs"]}), runs["truncated"]), (1100, False))
        self.assertTrue(all(run["outputs_count"] == 0 and "outputs" not in run for run in runs["runs"]))
        for limit, truncated in ((1005, True), (1100, False)):
            cut = server.ask("runs", "--limit", str(limit))
            self.assertEqual((len(cut["runs"]), cut["truncated"]), (limit, truncated))


if __name__ == "__main__":
    harness.main()
