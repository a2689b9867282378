"""The daemon dies after each step of the path of an event: what was begun is finished by its next life, once."""
import os
import pathlib
import re

import fail_points
import harness

# What the record of the struck run may say afterwards: the outcomes of its attempts, its failures, its losses.
ONCE = [(["succeeded"], 0, 0)]
BEGUN = [(["succeeded"], 0, 1)]          # begun, and nothing of it on record
LOST = [(["lost", "succeeded"], 0, 1)]
# Its delay is drawn by lot: when it is none, the next attempt has begun too.
FAILED = [(["failed", "succeeded"], 1, 0), (["failed", "succeeded"], 1, 1), (["failed", "lost", "succeeded"], 1, 1)]
UNTOLD = [(["failed", "succeeded"], 0, 1)]  # its failure is on record, and the broker had not heard of it
DEAD = [(["failed"], 1, 0)]
ANY = ONCE + BEGUN + LOST                # the worker is at it while the producer dies
TWICE = LOST + [(["lost", "succeeded"], 0, 2), (["lost", "lost", "succeeded"], 0, 2)]  # and begun in the second life


class FailPoints(fail_points.TestCase):
    def test_while_an_event_comes_in(self):
        self.strike({"after_publish_receipt": ANY, "after_seen": ANY})

    def test_before_an_attempt(self):
        self.strike({"after_receive": ONCE, "after_begin": BEGUN})

    def test_in_an_attempt(self):
        # The directory is made while the broker records that the run begins, and the attempt's row is written.
        self.strike({"after_attempt_row": LOST, "after_attempt_directory": ONCE + BEGUN + LOST, "after_stage_in": LOST,
                     "after_execute": LOST, "after_seal": LOST})

    def test_between_commit_and_publish(self):
        self.strike({"after_commit": ONCE, "after_place_one": ONCE, "after_place": ONCE, "after_publish_one": ONCE})

    def test_between_publish_and_verdict(self):
        self.strike({"after_publish": ONCE, "after_mark": ONCE, "after_ack": ONCE})

    def test_at_the_second_of_two_outputs(self):
        self.strike({"after_place_one": ONCE}, fail="after_place_one:2")

    def test_at_the_second_of_two_events(self):
        self.strike({"after_publish_one": ONCE}, fail="after_publish_one:2")

    def test_when_an_attempt_has_failed(self):
        self.strike({"after_end_attempt": UNTOLD, "after_remove_attempt": UNTOLD, "after_forget_attempt": UNTOLD,
                     "after_nak": FAILED}, name="flaky")

    def test_when_an_event_is_given_up(self):
        self.strike({"after_commit": DEAD, "after_dead_letter": DEAD}, name="poison")

    def test_while_the_next_life_finishes_a_row(self):
        world = self.make_chain(fail="after_commit after_sweep_finish")
        world.server.start()
        world.apply()
        # A call that somebody waits for has no message of the broker's that would come again.
        self.assertIsNone(world.ask("POST", "/api/v1/functions/called/invoke", b"unanswered"))
        self.await_deaths(world)
        self.check_all(world)
        self.assertEqual(sorted(world.files("calls").values()), [b"called", b"unanswered"])

    def test_while_the_next_life_clears_up(self):
        for point in ("after_sweep_abandon", "after_sweep_remove", "after_sweep_forget"):
            self.strike({point: TWICE}, fail=f"after_execute {point}")


class Retention(fail_points.TestCase):
    def test_while_old_records_go(self):
        for point in ("after_retention_directory", "after_retention_remove"):
            with self.subTest(point=point):
                world = self.make_chain(fail=point, name=point)
                server = world.server
                server.start()
                world.apply()
                self.assertTrue(world.put("plain"))
                server.wait_idle()
                world.check()
                before = {bucket: world.files(bucket) for bucket in ("mid", "out")}
                server.stop()
                server.age_records(40)
                server.start()
                self.await_deaths(world)
                harness.until(lambda: server.runs() == [], "the records go")
                world.check_directories([])
                server.restart()
                server.wait_idle()
                self.assertEqual(server.runs(), [], "nothing runs again")
                self.assertEqual({bucket: world.files(bucket) for bucket in before}, before)
                self.assertTrue(world.put("later"))
                server.wait_idle()
                self.assertEqual(len(server.runs()), 3)


class Topics(fail_points.TestCase):
    def test_while_results_become_events(self):
        """Through two topics: what is printed, and each of three files."""
        for point in ("after_commit", "after_publish_event", "after_publish_event:2", "after_publish", "after_mark",
                      "after_ack"):
            with self.subTest(point=point):
                world = self.make_chain(fail=point, name=point.replace(":", "-"))
                server = world.server
                server.start()
                common = {"executor": "process", "max_losses": 100}
                server.apply(
                    {"name": "print", "script": "echo \"printed $(cat)\"\n", "topics": ["orders"],
                     "output": [{"topic": "printed"}], **common},
                    {"name": "write", "topics": ["printed"], "output": [{"topic": "written"}], **common,
                     "script": "for n in 1 2 3; do cat \"$INPUT_FILE_PATH\" >\"$TMP_OUTPUT_DIR/$n\"; done\n"},
                    {"name": "keep", "topics": ["written"], "output": ["kept"], **common,
                     "script": "cat >\"$TMP_OUTPUT_DIR/$MILLRACE_EVENT_SUBJECT-$MILLRACE_RUN_ID\"\n"})
                self.assertEqual(server.request("POST", "/api/v1/topics/orders/events", b"one",
                                                {"ce-id": "1", "ce-source": "test"}).status, 202)
                self.await_deaths(world)
                server.wait_idle()
                self.assertEqual(sorted(name[:2] for name in server.names("kept")), [b"1-", b"2-", b"3-"])
                self.assertEqual(set(world.files("kept").values()), {b"printed one\n"})
                self.assertEqual(sorted(run["function"] for run in server.runs()),
                                 ["keep"] * 3 + ["print", "write"])
                server.restart()
                server.wait_idle()
                self.assertEqual(len(server.runs()), 5, "nothing runs again")


class Coverage(fail_points.TestCase):
    def test_every_point_strikes_in_a_test(self):
        source = pathlib.Path(__file__).read_text()
        self.assertGreater(len(fail_points.NAMES), 20)
        self.assertEqual({name for name in fail_points.NAMES if not re.search(rf"\b{name}\b", source)}, set())

    def test_the_shipped_executable_has_none(self):
        shipped, failing = (pathlib.Path(os.environ[name]).read_bytes() for name in ("MILLRACE_SHIPPED", "MILLRACE_BIN"))
        for name in fail_points.NAMES:
            self.assertIn(name.encode(), failing)
            self.assertNotIn(name.encode(), shipped)
        self.assertNotIn(b"MILLRACE_FAIL", shipped)


class Checker(fail_points.TestCase):
    def test_notices_what_is_lost_torn_or_there_twice(self):
        world = self.make_chain()
        world.server.start()
        world.apply()
        self.assertTrue(world.put("plain"))
        world.server.wait_idle()
        world.check()
        out = world.server.bucket("out")
        path = out / os.fsdecode(min(world.server.names("out")))
        whole = path.read_bytes()

        def assert_noticed(what):
            with self.assertRaisesRegex(AssertionError, what):
                world.check()
        path.write_bytes(whole[:-1])
        assert_noticed("torn output")
        path.unlink()
        assert_noticed("lost or too many")
        path.write_bytes(whole)
        (out / path.name).write_bytes(whole)
        assert_noticed("twice in out")
        (out / path.name).unlink()
        world.confirmed.add(b"never-put")
        assert_noticed("confirmed and gone")
        world.confirmed.discard(b"never-put")
        world.check()


class Others(fail_points.TestCase):
    """The daemon stands still after each step, and another process dies meanwhile, or its lease runs out."""

    def test_launcher_dies_before_a_function_runs(self):
        self.stand_still(["after_begin", "after_attempt_row", "after_attempt_directory", "after_nak"], self.kill_launcher)

    def test_launcher_dies_after_a_function_ran(self):
        self.stand_still(["after_execute", "after_seal", "after_commit"], self.kill_launcher, executor="container")

    def test_lease_runs_out(self):
        by_input = self.stand_still(["after_begin", "after_execute", "after_seal", "after_commit", "after_place_one",
                                     "after_publish_one", "after_mark"], self.outlast_lease,
                                    fail_points.OPTIONS_SHORT_LEASE)
        self.assertEqual(len(by_input), 7)


if __name__ == "__main__":
    harness.main()
