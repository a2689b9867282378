"""The first thing a user tries: config/examples/hello, and what is left of it after a restart."""
import harness

GREETING = b"Hello, Grace!\n"


class Hello(harness.TestCase):
    def test_example_runs_as_its_readme_says(self):
        server = self.start_server()
        server.cli("apply", str(harness.EXAMPLES / "hello" / "functions.yaml"))
        self.assertEqual(server.cli("run", "hello", stdin=b"Ada\n").stdout, b"Hello, Ada!\n")

        grace = self.folder / "grace.txt"
        grace.write_text("Grace\n")
        server.cli("put", str(grace), "names/grace.txt")
        server.wait_idle()
        self.assertEqual(server.cli("get", "greetings/grace.txt.greeting").stdout, GREETING)

        of_file = [run for run in server.runs("hello") if "input" in run]
        self.assertEqual([run["outcome"] for run in of_file], ["succeeded"])
        self.assertEqual(of_file[0]["input"]["key"], "grace.txt")
        self.assertGreater(of_file[0]["usage"]["wall_us"], 0)
        why = server.cli("why", of_file[0]["run_id"]).stdout.decode()
        self.assertIn("names/grace.txt -> greetings/grace.txt.greeting", why)
        self.assertIn(of_file[0]["run_id"], why)
        self.assertEqual(server.cli("logs", of_file[0]["run_id"]).stdout, GREETING)
        self.assertEqual(server.stop(), 0)

    def test_restart_keeps_everything(self):
        server = self.start_server()
        server.cli("apply", str(harness.EXAMPLES / "hello" / "functions.yaml"))
        server.cli("put", "-", "names/a.txt", stdin=b"Grace")
        server.wait_idle()
        before = {"functions": server.ask("ls"), "runs": server.runs(), "objects": server.ask("ls", "greetings")}
        self.assertEqual(len(before["runs"]), 1)

        server.restart()
        server.wait_idle()
        self.assertEqual(server.ask("ls"), before["functions"])
        self.assertEqual(server.runs(), before["runs"])
        self.assertEqual(server.ask("ls", "greetings"), before["objects"])
        self.assertEqual(server.cli("get", "greetings/a.txt.greeting").stdout, GREETING)
        server.cli("put", "-", "names/b.txt", stdin=b"Grace")
        server.wait_idle()
        self.assertEqual(len(server.runs()), 2)

    def test_copy_of_the_stopped_directory_is_a_copy_of_the_system(self):
        server = self.start_server()
        server.cli("apply", str(harness.EXAMPLES / "hello" / "functions.yaml"))
        server.cli("put", "-", "names/a.txt", stdin=b"Grace")
        server.wait_idle()
        runs = server.runs()
        server.stop()
        copy = self.make_server(name="two")
        harness.subprocess.run(["cp", "-a", str(server.data), str(copy.data)], check=True)
        copy.start()
        copy.wait_idle()
        # Every file is a new one there, and still the same content under the same name at the same time.
        self.assertEqual(copy.runs(), runs)
        self.assertEqual(copy.cli("get", "greetings/a.txt.greeting").stdout, GREETING)

    def test_applied_again_nothing_changes(self):
        server = self.start_server()
        file = str(harness.EXAMPLES / "hello" / "functions.yaml")
        self.assertIn(b"created", server.cli("apply", file).stdout)
        self.assertIn(b"unchanged", server.cli("apply", file).stdout)
        self.assertEqual(server.ask("ls")["functions"][0]["revision"], 1)

    def test_removed_function_leaves_its_data(self):
        server = self.start_server()
        server.cli("apply", str(harness.EXAMPLES / "hello" / "functions.yaml"))
        server.cli("put", "-", "names/a.txt", stdin=b"Grace")
        server.wait_idle()
        server.cli("rm", "hello")
        self.assertEqual(server.ask("ls")["functions"], [])
        self.assertEqual(server.cli("get", "greetings/a.txt.greeting").stdout, GREETING)
        self.assertEqual(len(server.runs()), 1)
        server.cli("run", "hello", status=5)


if __name__ == "__main__":
    harness.main()
