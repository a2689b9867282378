"""Events through a NATS server, as a user sets it up: what the daemon asks of it, and what survives when one of the two
dies. MILLRACE_NATS_SERVER names the server (scripts/fetch_nats_server prints it)."""
import pathlib

import harness
from nats_server import NatsServer


class Nats(harness.TestCase):
    def start_nats(self, sync=True):
        nats = NatsServer(pathlib.Path(self.folder), sync)
        self.addCleanup(nats.kill)
        return nats

    def start_on(self, nats):
        return self.start_server({"--broker": nats.url, "--nats-monitor": nats.monitor})

    def test_hello_survives_the_death_of_the_daemon(self):
        server = self.start_on(self.start_nats())
        server.cli("apply", str(harness.EXAMPLES / "hello" / "functions.yaml"))
        self.assertEqual(server.request("GET", "/api/v1/topics").json()["durability"], "synced")
        server.cli("put", "-", "names/a.txt", stdin=b"Ada")
        server.wait_idle()
        self.assertEqual(server.cli("get", "greetings/a.txt.greeting").stdout, b"Hello, Ada!\n")

        server.kill()
        server.start()
        server.cli("put", "-", "names/b.txt", stdin=b"Grace")
        server.wait_idle()
        self.assertEqual(server.cli("get", "greetings/b.txt.greeting").stdout, b"Hello, Grace!\n")
        self.assertEqual([run["outcome"] for run in server.runs()], ["succeeded", "succeeded"])

    def test_result_is_settled_after_the_nats_server_comes_back(self):
        nats = self.start_nats()
        server = self.start_on(nats)
        server.apply({"name": "slow", "input": [{"path": "in"}], "output": [{"path": "out"}],
                      "script": "#!/bin/sh\nsleep 3\n" + harness.COPY.partition("\n")[2]})
        server.cli("put", "-", "in/a.txt", stdin=b"a")
        harness.until(lambda: server.children("function"), "the function runs")
        nats.kill()
        nats.start()
        server.wait_idle()
        self.assert_one_output(server, "out", "a.txt", b"a")
        runs = server.runs("slow")
        self.assertEqual([run["outcome"] for run in runs], ["succeeded"])
        self.assertEqual(server.request("GET", "/api/v1/topics").json()["topics"][0]["in_flight"], 0)

    def test_daemon_that_dies_while_its_function_runs_loses_nothing(self):
        server = self.start_on(self.start_nats())
        server.apply({"name": "slow", "input": [{"path": "in"}], "output": [{"path": "out"}],
                      "script": "#!/bin/sh\nsleep 1\n" + harness.COPY.partition("\n")[2]})
        server.cli("put", "-", "in/a.txt", stdin=b"a")
        harness.until(lambda: server.children("function"), "the function runs")
        server.kill()
        server.start()
        server.wait_idle()
        self.assert_one_output(server, "out", "a.txt", b"a")
        self.assertEqual([run["outcome"] for run in server.runs("slow")], ["succeeded"])

    def test_nats_server_that_does_not_sync_is_refused(self):
        nats = self.start_nats(sync=False)
        server = self.make_server({"--broker": nats.url, "--nats-monitor": nats.monitor})
        self.assert_does_not_start(server, "page_cache", "sync_interval", "--allow-weak-durability")

    def test_a_stop_while_the_server_is_waited_for_is_no_wait(self):
        server = self.make_server({"--broker": f"nats://127.0.0.1:{harness.free_port()}"})
        server.launch()
        harness.until(lambda: "does not answer yet" in server.log(), "it waits for the NATS server")
        self.assertEqual(server.stop(), 0)
        self.assertIn("this start is given up", server.log())

    def test_password_in_the_url_is_refused(self):
        server = self.make_server({"--broker": "nats://me:secret@127.0.0.1:4222"})
        self.assert_does_not_start(server, "nats_password_file")
        self.assertNotIn("secret", server.log())

    def test_health_tells_of_a_nats_server_that_is_away(self):
        nats = self.start_nats()
        server = self.start_on(nats)
        self.assertEqual(server.troubles(), [])
        nats.kill()
        (what, reason), = harness.until(server.troubles, "it says so")
        self.assertEqual(what, "broker")
        self.assertIn(f"127.0.0.1:{nats.port}", reason)
        self.assertEqual(server.request("GET", "/health/live", token=None).status, 200)
        nats.start()
        harness.until(server.is_healthy, "it takes work again")


if __name__ == "__main__":
    harness.main()
