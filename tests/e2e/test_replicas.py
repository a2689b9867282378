"""A gateway and several workers on one machine, over a real NATS server and a real PostgreSQL: what they share, what
survives the death of one of them, and what is refused."""
import collections
import datetime
import os
import pwd
import random
import signal
import subprocess
import time

import harness
import test_state
from nats_server import NatsServer

EVENTS = int(os.environ.get("MILLRACE_REPLICAS_EVENTS", "300"))
SEED = int(os.environ.get("MILLRACE_SEED", str(time.time_ns())))
LEASE_S = 2
WORKERS = "worker-1", "worker-2", "worker-3"
SLOW_COPY = "#!/bin/sh\nsleep {seconds}\n" + harness.COPY.partition("\n")[2]


class Cluster(harness.TestCase):
    """Each node has a data directory of its own; the buckets are the gateway's."""

    def setUp(self):
        super().setUp()
        self.nats = NatsServer(self.folder)
        self.addCleanup(self.nats.kill)
        self.postgres = test_state.Postgres()
        self.addCleanup(self.postgres.close)
        self.postgres.start()

    def shared(self):
        return {"--broker": self.nats.url, "--nats-monitor": self.nats.monitor, "--state": self.postgres.url(),
                "--node-lease": f"{LEASE_S}s", "--bucket-directory": str(self.folder / "gateway" / "data" / "buckets"),
                "--cpu": "2", "--memory": "1Gi"}

    def make_node(self, name, roles=None, **options):
        given = {f"--{option.replace('_', '-')}": value for option, value in options.items()}
        node = self.make_server(self.shared() | {"--node": name} | ({"--roles": roles} if roles else {}) | given, name)
        return node

    def make_worker(self, name, **options):
        node = self.make_node(name, **options)
        node.command = "worker"
        return node

    def start_cluster(self, workers=3, **options):
        gateway = self.make_node("gateway", "gateway,producer").start()
        return gateway, [self.make_worker(name, **options).start() for name in WORKERS[:workers]]

    def function(self, name="copy", seconds=0.1, **more):
        return {"name": name, "input": [{"path": "in"}], "output": [{"path": "out"}], "cpu": "1", "memory": "64Mi",
                "script": SLOW_COPY.format(seconds=seconds)} | more

    def drop_many(self, gateway, first, count):
        for number in range(first, first + count):
            path = gateway.bucket("in") / f"{number:05}.part"
            path.write_text(str(number))
            os.rename(path, path.with_suffix(".txt"))

    def wait_for_outputs(self, gateway, count, timeout_s=200.0):
        harness.until(lambda: len(gateway.names("out")) >= count, f"{count} outputs, {len(gateway.names('out'))} so far",
                      timeout_s)
        gateway.wait_idle()

    def assert_each_once(self, gateway, count):
        """Outputs are the inputs, and of each one record stands; nothing is shown as if it waited."""
        self.assertEqual([run["state"] for run in gateway.ask("runs", "-f", "copy")["runs"] if "outcome" not in run], [])
        self.assertEqual(gateway.names("out"), {b"%05d.txt" % number for number in range(count)})
        for number in range(count):
            self.assertEqual((gateway.bucket("out") / f"{number:05}.txt").read_text(), str(number))
        runs = gateway.runs("copy")
        self.assertEqual(collections.Counter(run["outcome"] for run in runs), {"succeeded": count})
        self.assertEqual(len({run["input"]["key"] for run in runs}), count)
        return runs

    def run_until_all_take_part(self, gateway):
        """As many files as it takes: a worker that learns of the function late has its share of the later ones."""
        for count in range(30, 601, 30):
            self.drop_many(gateway, count - 30, 30)
            self.wait_for_outputs(gateway, count)
            nodes = {run["node"] for run in self.assert_each_once(gateway, count)}
            self.assertLessEqual(nodes, set(WORKERS))
            if nodes == set(WORKERS):
                return count
        self.fail(f"of {count} events all went to {nodes}")

    def kill_at_once(self, node):
        """As a power cut does. A daemon that outlives its supervisor would leave in order."""
        daemons = node.children("daemon")
        node.process.kill()
        for pid in daemons:
            harness.kill(pid)
        node.kill()

    def run_while_killing(self, gateway, workers, count, batch, every=(2, 5)):
        """A worker dies and the NATS server dies, each `every` so many seconds, until all outputs are there. How often.

        What a dead worker had is with others about a lease after NATS has started: a server that dies sooner, again and
        again, keeps them from ever beginning."""
        chance = random.Random(SEED)
        print(f"MILLRACE_SEED={SEED}", flush=True)
        begun = time.monotonic()
        time_max_s = 120 + count / 2  # a hang guard: a machine that others use as well runs two events a second
        due, kills, dropped = [begun + every[0], begun + every[1]], [0, 0], 0
        while (done := len(gateway.names("out"))) < count:
            now = time.monotonic()
            self.assertLess(now - begun, time_max_s, f"{done} of {count} outputs after {kills} kills")
            # Not so many that all are there before somebody dies, and the last ones when both have died.
            if dropped < count and dropped - done < 5 * batch and (dropped + batch < count or all(kills)):
                self.drop_many(gateway, dropped, min(batch, count - dropped))
                dropped += batch
            elif now >= min(due):
                which = due.index(min(due))  # the more overdue of the two
                if which == 0:
                    worker = chance.choice(workers)
                    self.kill_at_once(worker)
                    worker.start()
                else:
                    self.nats.kill()
                    self.nats.start()
                kills[which] += 1
                due[which] = max(due[which], time.monotonic() - every[which]) + every[which]
            else:
                time.sleep(harness.POLL_S)
        self.wait_for_outputs(gateway, count)
        return kills

    def nodes(self, gateway):
        return {node["name"]: node for node in gateway.ask("nodes")["nodes"]}


class Replicas(Cluster):
    def test_workers_share_the_work_and_records_name_them(self):
        gateway, workers = self.start_cluster()
        gateway.apply(self.function())
        self.run_until_all_take_part(gateway)

        nodes = self.nodes(gateway)
        self.assertEqual({name: node["roles"] for name, node in nodes.items()},
                         {"gateway": "gateway,producer"} | dict.fromkeys(WORKERS, "worker"))
        self.assertEqual({node["state"] for node in nodes.values()}, {"live"})
        self.assertEqual({node["cpu_millicores"] for node in nodes.values()}, {2000})
        self.assertIn("worker-2", gateway.cli("nodes").stdout.decode())
        self.assertIn("worker-2", gateway.cli("top", "--once").stdout.decode())
        for worker in workers:
            self.assertEqual(worker.request("GET", "/metrics").status, 200)
            refused = worker.request("GET", "/api/v1/functions")
            self.assertEqual(refused.status, 409, refused.body)
            self.assertIn("is no gateway", refused.json()["error"]["message"])
        self.assertEqual([node.stop() for node in [*workers, gateway]], [0] * 4)

    def test_nobody_holds_what_another_could_run(self):
        gateway, _ = self.start_cluster(hold="5m")
        gateway.apply(self.function(seconds=0.3))
        before = self.run_until_all_take_part(gateway)
        self.drop_many(gateway, before, 60)
        self.wait_for_outputs(gateway, before + 60)
        runs = [run for run in self.assert_each_once(gateway, before + 60) if run["input"]["key"] >= f"{before:05}"]
        # Six slots: while anything waits to start, each is free for moments only. An event that a full worker held for
        # its whole `hold` of five minutes would leave a hole of that length with another.
        for node in WORKERS:
            self.assertGreater(sum(run["node"] == node for run in runs), 5)
            self.assertLess(longest_rest(runs, node), 30, f"{node} idled while others had a backlog")

    def test_killed_worker_and_drained_worker_lose_nothing(self):
        gateway, workers = self.start_cluster()
        gateway.apply(self.function(seconds=0.05))
        third = EVENTS // 3
        self.drop_many(gateway, 0, third)
        harness.until(lambda: len(gateway.names("out")) > third // 4, "it runs")
        self.kill_at_once(workers[0])
        self.drop_many(gateway, third, third)
        harness.until(lambda: self.nodes(gateway)["worker-1"]["state"] == "gone", "its death is noticed")
        harness.until(lambda: len(gateway.names("out")) > third + third // 4, "the others go on")
        self.drop_many(gateway, 2 * third, EVENTS - 2 * third)
        self.assertEqual(workers[1].stop(), 0)
        self.assertNotIn("worker-2", self.nodes(gateway))
        workers[0].start()
        self.assertEqual(self.nodes(gateway)["worker-1"]["state"], "live")
        self.wait_for_outputs(gateway, EVENTS)
        runs = self.assert_each_once(gateway, EVENTS)
        self.assertEqual({run["node"] for run in runs}, set(WORKERS))
        until_swept = "SELECT count(*) FROM millrace.attempts WHERE outcome IS NULL AND NOT named"
        harness.until(lambda: self.postgres.ask(until_swept) == "0", "what the dead one had begun is cleared up")
        left = [entry for folder in gateway.bucket("out").glob(".millrace/??") for entry in folder.iterdir()]
        self.assertEqual(len(left), EVENTS, "of each run one private copy")

    def test_run_longer_than_every_lease_is_left_to_its_worker(self):
        gateway, workers = self.start_cluster(2)
        gateway.apply(self.function(seconds=4 * LEASE_S))
        self.drop_many(gateway, 0, 2)
        self.wait_for_outputs(gateway, 2)
        runs = self.assert_each_once(gateway, 2)
        self.assertEqual([run.get("losses", 0) for run in runs], [0, 0])
        self.assertEqual(int(self.postgres.ask("SELECT count(*) FROM millrace.attempts")), 2)

    def test_worker_that_is_paused_cannot_commit_what_others_have_given_up(self):
        gateway, workers = self.start_cluster(2)
        gateway.apply(self.function(seconds=3))
        self.drop_many(gateway, 0, 2)
        harness.until(lambda: all(worker.children("function") for worker in workers)
                      or int(self.postgres.ask("SELECT count(*) FROM millrace.attempts")) == 2, "both run")
        paused = [pid for pid in workers[0].children("daemon")]
        for pid in paused:
            os.kill(pid, signal.SIGSTOP)
        try:
            self.wait_for_outputs(gateway, 2)
        finally:
            for pid in paused:
                os.kill(pid, signal.SIGCONT)
        harness.until(lambda: self.nodes(gateway)["worker-1"]["state"] == "live", "it is back")
        gateway.wait_idle()
        self.assert_each_once(gateway, 2)

    def test_function_applied_on_one_gateway_is_known_to_all(self):
        one = self.make_node("gateway", "gateway,producer").start()
        other = self.make_node("other", "gateway").start()
        self.make_worker("worker").start()
        one.apply(self.function("hello", script="#!/bin/sh\necho hello, $(cat)\n", input=[], output=[]))
        names = lambda server: [function["name"] for function in server.ask("ls")["functions"]]
        harness.until(lambda: names(other) == ["hello"], "the other gateway knows it")
        self.assertEqual(other.cli("run", "hello", stdin=b"Ada").stdout, b"hello, Ada\n")
        self.assertEqual([run["node"] for run in one.runs("hello")], ["worker"])

        other.apply(self.function("hello", script="#!/bin/sh\necho bye, $(cat)\n", input=[], output=[]))
        harness.until(lambda: one.cli("run", "hello", stdin=b"Ada").stdout == b"bye, Ada\n", "the new revision runs")
        other.cli("rm", "hello")
        harness.until(lambda: names(one) == [], "it is gone everywhere")
        one.cli("run", "hello", status=5)

    def test_topic_deleted_on_one_gateway_is_gone_on_all(self):
        gateway, _ = self.start_cluster(workers=1)
        second = self.make_node("second", "gateway").start()
        shout = {"name": "shout", "script": "#!/bin/sh\ncat >\"$TMP_OUTPUT_DIR/$MILLRACE_RUN_ID\"\n", "topics": ["orders"],
                 "output": [{"path": "out"}], "cpu": "1", "memory": "64Mi"}
        gateway.apply(shout)
        self.assertIn(b"'shout'", second.cli("topics", "--delete", "orders", "--yes", status=1).stderr)
        second.cli("publish", "orders", "--key", "k", "--priority", "high", "first")
        self.wait_for_outputs(gateway, 1)
        gateway.cli("rm", "shout")
        second.cli("publish", "orders", "waits for nobody")
        self.assertEqual(gateway.ask("topics", "--delete", "orders", "--yes")["waiting"], 1)
        named = lambda node: "orders" in {row["name"] for row in node.ask("topics")["topics"]}
        self.assertEqual([named(node) for node in (gateway, second)], [False, False])
        second.cli("topics", "--delete", "orders", "--yes", status=5)
        # Made again, whoever does it, it begins from nothing and works everywhere.
        second.apply(shout)
        gateway.cli("publish", "orders", "--key", "k", "--priority", "high", "second")
        self.wait_for_outputs(gateway, 2)
        self.assertEqual(sorted((gateway.bucket("out") / os.fsdecode(name)).read_text() for name in gateway.names("out")),
                         ["first", "second"])

    def test_function_is_measured_by_the_workers_and_not_by_its_gateway(self):
        patient = {"node_lease": "60s"}  # each answer counts the nodes that are alive
        gateway = self.make_node("gateway", "gateway,producer", memory="16Mi", cpu="100m", **patient).start()
        said = lambda done: done.stderr.decode()
        self.assertIn("memory: 64Mi is not checked: no node that runs functions is there",
                      said(gateway.apply(self.function())))
        self.make_worker("worker-1", **patient).start()
        self.make_worker("worker-2", memory="512Mi", **patient).start()
        self.assertEqual(said(gateway.apply(self.function())), "")
        for asked, most in (({"memory": "1025Mi"}, "1Gi on node 'worker-1'"), ({"cpu": "2001m"}, "2 on node 'worker-")):
            self.assertIn(f"is more than any node has for functions: the most is {most}",
                          said(gateway.apply(self.function("large", **asked), status=2)))
        self.assertIn("memory: 768Mi is more than some nodes have for functions: the least is 512Mi on node 'worker-2'",
                      said(gateway.apply(self.function("large", memory="768Mi"))))

    def test_synchronous_calls(self):
        gateway = self.make_node("gateway", "gateway,producer").start()
        gateway.apply(self.function("say", script="#!/bin/sh\ncat\nexit ${CODE:-0}\n", input=[], output=[]),
                      self.function("fail", script="#!/bin/sh\necho no\nexit 7\n", input=[], output=[]))
        refused = gateway.request("POST", "/api/v1/functions/say/invoke", b"x")
        self.assertEqual(refused.status, 503)
        self.assertIn("millrace worker", refused.json()["error"]["message"])
        self.make_worker("worker").start()
        harness.until(lambda: gateway.request("POST", "/api/v1/functions/say/invoke", b"warm").status == 200, "it runs")
        began = time.monotonic()
        for number in range(20):
            answer = gateway.request("POST", "/api/v1/functions/say/invoke", b"%d" % number)
            self.assertEqual((answer.status, answer.body), (200, b"%d" % number))
        print(f"a call took {(time.monotonic() - began) / 20 * 1000:.1f} ms")
        failed = gateway.request("POST", "/api/v1/functions/fail/invoke", b"")
        self.assertEqual((failed.status, failed.body), (500, b"no\n"))
        self.assertEqual(failed.getheader("X-Millrace-Exit-Code"), "7")
        again = [gateway.request("POST", "/api/v1/functions/say/invoke", b"once", {"Idempotency-Key": "k"})
                 for _ in range(2)]
        self.assertEqual([answer.body for answer in again], [b"once"] * 2)
        self.assertEqual(len({answer.getheader("X-Millrace-Run-Id") for answer in again}), 1)

    def test_run_of_another_node_is_seen_and_cancelled(self):
        gateway, _ = self.start_cluster(1)
        gateway.apply(self.function(seconds=60))
        self.drop_many(gateway, 0, 1)
        attempt = "SELECT run_id FROM millrace.attempts WHERE outcome IS NULL"
        run_id = harness.until(lambda: self.postgres.ask("SET bytea_output = escape; " + attempt).split()[1:], "it runs")[0]
        self.assertEqual(gateway.ask("runs", run_id)["state"], "running")
        self.drop_many(gateway, 1, 2)
        queued = harness.until(lambda: [run["run_id"] for run in gateway.ask("runs", "-f", "copy")["runs"]
                                        if self.postgres.ask("SELECT count(*) FROM millrace.attempts") == "2"
                                        and gateway.ask("runs", run["run_id"])["state"] == "queued"], "one has no slot")
        self.assertEqual(len(queued), 1)
        gateway.cli("cancel", queued[0])
        self.assertEqual([run["run_id"] for run in gateway.runs("copy")], queued)
        running = set(self.postgres.ask("SET bytea_output = escape; " + attempt).split()[1:])
        self.assertIn(run_id, running)
        for run in running:
            gateway.cli("cancel", run)
        gateway.wait_idle()
        self.assertEqual([run["outcome"] for run in gateway.runs("copy")], ["cancelled"] * 3)

    def test_postgres_and_nats_die_under_load(self):
        gateway, _ = self.start_cluster()
        gateway.apply(self.function(seconds=0.02))
        count = 150
        for part in range(3):
            self.drop_many(gateway, part * count // 3, count // 3)
            self.postgres.kill()
            self.postgres.start()
            if part == 1:
                self.nats.kill()
                self.nats.start()
        self.wait_for_outputs(gateway, count)
        self.assert_each_once(gateway, count)
        harness.until(lambda: {node["state"] for node in self.nodes(gateway).values()} == {"live"}, "all are back")

    def test_worker_ends_although_its_broker_is_gone(self):
        gateway = self.make_node("gateway", "gateway,producer").start()
        worker = self.make_worker("worker", drain_timeout="1s").start()
        gateway.apply(self.function(seconds=0.5))
        self.drop_many(gateway, 0, 2)
        harness.until(lambda: self.postgres.ask("SELECT count(*) FROM millrace.attempts") == "2", "both run")
        self.nats.kill()
        harness.until(lambda: self.postgres.ask("SELECT count(*) FROM millrace.runs") == "2", "both are committed")
        self.assertEqual(worker.stop(), 0)
        self.assertNotIn("it is killed", worker.log(), "it ends by itself")
        self.nats.start()
        worker.start()
        self.wait_for_outputs(gateway, 2)
        self.assert_each_once(gateway, 2)

    def test_workers_and_broker_are_killed_again_and_again(self):
        gateway, workers = self.start_cluster()
        gateway.apply(self.function(seconds=0.2))
        kills = self.run_while_killing(gateway, workers, 150, batch=15, every=(1, 2.5 * LEASE_S))
        print("kills of workers and of NATS:", kills, flush=True)
        self.assert_each_once(gateway, 150)

    def test_second_node_of_a_name_is_refused(self):
        gateway = self.make_node("gateway", "gateway,producer").start()
        twin = self.make_server(self.shared() | {"--node": "gateway", "--roles": "worker"}, "twin")
        self.assert_does_not_start(twin, "a node named 'gateway'", "--node")
        self.assertEqual(gateway.restart().ask("nodes")["nodes"][0]["state"], "live")
        gateway.kill()
        gateway.start()  # the same node in its next life, before the lease of the last one is over

    def test_nodes_of_another_version_are_told_of(self):
        gateway = self.make_node("gateway", "gateway,producer").start()
        self.postgres.ask("CREATE TEMP TABLE elder AS SELECT * FROM millrace.nodes; UPDATE elder SET name = 'elder',"
                          " identity = 'other', version = '0.0.1', lease_until = now() + interval '1 hour';"
                          " INSERT INTO millrace.nodes SELECT * FROM elder")
        worker = self.make_worker("worker").start()
        self.assertRegex(worker.log(), r"WARN .*version.* node=elder .*0\.0\.1")
        versions = {name: node["version"] for name, node in self.nodes(gateway).items()}
        self.assertEqual(versions["elder"], "0.0.1")
        self.assertEqual(versions["worker"], versions["gateway"])

    def test_what_serves_one_daemon_is_not_shared(self):
        for options in ({}, {"--broker": self.nats.url}, {"--state": self.postgres.url()}):
            lone = self.make_server(options | {"--roles": "worker"}, f"lone-{len(self.servers)}")
            self.assert_does_not_start(lone, "--broker nats://", "--state postgres://")
        self.make_node("gateway", "gateway,producer").start()
        embedded = self.make_server({"--state": self.postgres.url(), "--node": "embedded"}, "embedded")
        self.assert_does_not_start(embedded, "node 'gateway'", "another broker")
        prefixed = self.make_server(self.shared() | {"--node": "prefixed", "--nats-prefix": "other"}, "prefixed")
        self.assert_does_not_start(prefixed, "node 'gateway'", "nats_prefix")

    def test_second_daemon_on_one_data_directory_is_refused(self):
        gateway = self.make_node("gateway", "gateway,producer").start()
        other = subprocess.run([harness.BIN, "worker", "--data", gateway.data, "--node", "worker",
                                *(word for option in self.shared().items() for word in option)],
                               stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
        self.assertNotEqual(other.returncode, 0)
        self.assertIn("in use by another server", other.stderr)
        gateway.cli("ls")


class SharedFolder(Cluster):
    """The buckets on a file system that has no inotify for what others write, and no flags of rename: as NFS."""

    def setUp(self):
        super().setUp()
        self.behind, self.mount = self.folder / "behind", self.folder / "mount"
        for folder in (self.behind, self.mount):
            folder.mkdir()
        os.chown(self.behind, pwd.getpwnam(harness.USER).pw_uid, -1)
        done = subprocess.run(["bindfs", self.behind, self.mount], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, f"{done.stderr}: run `scripts/install_packages test`")
        self.addCleanup(subprocess.run, ["umount", "--lazy", self.mount], check=True)

    def shared(self):
        return super().shared() | {"--bucket-directory": str(self.mount / "buckets"), "--rescan": "1s"}

    def test_files_that_another_machine_writes_are_found_by_looking(self):
        gateway, _ = self.start_cluster(2)
        gateway.apply(self.function(seconds=0))
        behind = self.behind / "buckets"
        for number in range(40):
            path = behind / "in" / f"{number:05}.part"
            path.write_text(str(number))
            os.rename(path, path.with_suffix(".txt"))
        out = behind / "out"
        harness.until(lambda: len(list(out.glob("*.txt"))) == 40, "all are copied")
        gateway.wait_idle()
        self.assertEqual({path.name: path.read_text() for path in out.glob("*.txt")},
                         {f"{number:05}.txt": str(number) for number in range(40)})
        self.assertEqual(collections.Counter(run["outcome"] for run in gateway.runs()), {"succeeded": 40})

    def test_check_says_what_a_shared_folder_weakens(self):
        checked = subprocess.run([harness.BIN, "check"], capture_output=True, check=False,
                                 env=os.environ | {"MILLRACE_BUCKET_DIRECTORY": str(self.mount)})
        self.assertRegex(checked.stdout.decode(), r"exchange_names +missing .*older result over a later one")


def longest_rest(runs, node):
    """Seconds for which a node ran nothing at a time while something still waited to start somewhere."""
    last_start = max(instant(run["started_at"]) for run in runs)
    busy = sorted((instant(run["started_at"]), instant(run["committed_at"])) for run in runs if run["node"] == node)
    longest, end = 0.0, busy[0][1]
    for started, committed in busy[1:] + [(last_start, last_start)]:
        longest, end = max(longest, started - end), max(end, committed)
    return longest


def instant(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


if __name__ == "__main__":
    harness.main()
