"""Running a function on what lies in its inputs already, and on all of it once more."""
import harness

COUNTING = '#!/bin/sh\ncp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/$FILE_NAME.$VERSION"\n'


class Replay(harness.TestCase):
    def function(self, **fields):
        return {"name": "f", "script": COUNTING, "input": ["in"], "output": ["out"],
                "environment": {"VERSION": "1"}, **fields}

    def start_with_files(self, *names):
        """A server whose function `f` was applied when these lay in its input."""
        server = self.start_server()
        server.request("PUT", "/api/v1/buckets/in")
        for name in names:
            server.drop("in", name, name.encode())
        server.apply(self.function())
        return server

    def test_runs_what_has_no_run_yet(self):
        server = self.start_with_files("a", "b")
        server.wait_idle()
        self.assertEqual(server.runs("f"), [])
        server.drop("in", "c", b"c")
        server.wait_idle()
        self.assertEqual(server.cli("replay", "f").stdout, b"replayed: 2 objects, 1 had a run already\n")
        server.wait_idle()
        self.assertEqual(server.names("out"), {b"a.1", b"b.1", b"c.1"})
        self.assertEqual(server.ask("replay", "f"), {"published": 0, "known": 3, "news": 0})
        server.restart()
        self.assertEqual(server.ask("replay", "f"), {"published": 0, "known": 3, "news": 0})
        server.wait_idle()
        self.assertEqual([run["outcome"] for run in server.runs("f")], ["succeeded"] * 3)

    def test_again_runs_everything_anew_and_the_newest_stands(self):
        server = self.start_with_files("a")
        server.apply(self.function(), {"name": "g", "script": harness.COPY, "input": ["out"], "output": ["end"]})
        server.ask("replay", "f")
        server.wait_idle()
        self.assertEqual(server.ask("replay", "f", "--again")["published"], 1)
        server.wait_idle()
        self.assertEqual([run["generation"] for run in server.runs("f")], [1, 0])
        self.assertEqual(len(server.runs("g")), 2, "what comes of a new run is new")
        # The chain's second function alone: on the output that the first one placed.
        self.assertEqual(server.ask("replay", "g"), {"published": 0, "known": 1, "news": 0})
        self.assertEqual(server.ask("replay", "g", "--again")["published"], 1)
        server.wait_idle()
        newest = server.ask("runs", server.runs("g")[0]["run_id"])
        self.assertEqual((newest["generation"], newest["outcome"]), (1, "succeeded"))
        self.assertEqual(newest["cause"], server.runs("f")[0]["run_id"])
        self.assert_one_output(server, "end", "a.1", b"a")

    def test_leaves_what_is_being_written(self):
        server = self.start_with_files("a")
        with open(server.bucket("in") / "half", "wb") as file:
            file.write(b"half")
            file.flush()
            self.assertEqual(server.ask("replay", "f")["news"], 1)
            server.wait_idle()
            self.assertEqual(server.names("out"), {b"a.1"})
            file.write(b"whole")
        harness.until(lambda: b"half.1" in server.names("out"), "the file runs when it is whole")
        server.wait_idle()
        self.assertEqual(len(server.runs("f")), 2)

    def test_what_cannot_be_replayed(self):
        server = self.start_server()
        server.apply({"name": "called", "script": "echo hi\n"})
        self.assertIn(b"'none' does not exist", server.cli("replay", "none", status=5).stderr)
        self.assertIn(b"'called' has no inputs", server.cli("replay", "called", status=1).stderr)
        self.assertEqual(server.request("POST", "/api/v1/functions/none/replay").status, 404)


if __name__ == "__main__":
    harness.main()
