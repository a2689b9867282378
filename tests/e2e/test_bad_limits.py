"""Limits and environments that cannot be: refused with the field, or failed with the reason, and nobody else notices."""
import harness


class BadLimits(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.server = self.start_server()

    def assert_refused(self, expected, **fields):
        done = self.server.apply({"name": "f", "script": "true\n", **fields}, status=2)
        self.assertIn(expected, done.stderr.decode())
        self.assertEqual(self.server.ask("ls")["functions"], [])

    def test_zero_negative_and_nonsense(self):
        for field, values in (("memory", (0, -1, "1Ki", "-5Mi", "lots")), ("cpu", ("-1", "some")),
                              ("timeout", ("0s", "-5s", "1ms", "soon")), ("retries", (-1, "many"))):
            for value in values:
                with self.subTest(field=field, value=value):
                    self.assert_refused(f"{field}: ", **{field: value})
        for field, values in (("cpu", (0, "-1", "1m")), ("pids", (0, -1, 1 << 40)), ("open_files", (0, -1)),
                              ("scratch", (0, "-1Mi")), ("log", ("-1",)), ("output_files", (-1,))):
            for value in values:
                with self.subTest(limit=field, value=value):
                    self.assert_refused(f"limits.{field}: ", limits={field: value})

    def test_more_than_the_machine_has(self):
        for field, value, option in (("cpu", "1000", "cpu"), ("scratch", "1Ti", "memory")):
            with self.subTest(limit=field):
                self.assert_refused(f"limits.{field}: {value} is more than any node has for functions: the most is ",
                                    limits={field: value})
                self.assert_refused(f"lower it, or raise the option {option} of that node", limits={field: value})

    def test_environment_that_is_too_large(self):
        self.assert_refused("environment: ", environment={"LONG": "x" * (128 << 10)})
        done = self.server.apply({"name": "f", "script": "true\n", "environment": {"BIG": "x" * (10 << 20)}}, status=2)
        self.assertIn("larger than 8388608 bytes", done.stderr.decode())
        self.assert_refused("environment: ", environment={"BIG": "x" * (7 << 20)})
        self.assert_refused("environment: ", environment={f"V{i}": "x" * 1000 for i in range(100)})

    def test_less_than_a_process_needs_to_start(self):
        self.server.apply({"name": "tiny", "script": "#!/bin/sh\necho started\n", "memory": "1Mi", "retries": 0},
                          {"name": "alone", "script": "#!/bin/sh\n(echo child)\n", "limits": {"pids": 1}, "retries": 0},
                          {"name": "fine", "script": "#!/bin/sh\necho fine\n"})
        launcher, = self.server.children("launcher")
        for name in ("tiny", "alone"):
            with self.subTest(name):
                done = self.server.cli("run", name, status=None)
                run, = self.server.runs(name)
                if run["outcome"] != "succeeded":  # a page of the program's may be in the cache for somebody else
                    self.assertNotEqual(done.returncode, 0)
                    self.assertTrue(run["reason"], run)
                self.assertEqual(self.server.cli("run", "fine").stdout, b"fine\n")
        self.assertIn(launcher, self.server.children("launcher"))


if __name__ == "__main__":
    harness.main()
