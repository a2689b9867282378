"""The long version of test_replicas.py: thousands of events through three workers, of which one is killed every two
seconds, and the NATS server every five. MILLRACE_REPLICAS_EVENTS says how many."""
import os
import random
import threading
import time

import harness
from test_replicas import Cluster

EVENTS = int(os.environ.get("MILLRACE_REPLICAS_EVENTS", "10000"))
SEED = int(os.environ.get("MILLRACE_SEED", str(time.time_ns())))
WORKER_EVERY_S, BROKER_EVERY_S = 2, 5
BATCH = 200


class ReplicasSoak(Cluster):
    def test_outputs_are_inputs_while_workers_and_broker_are_killed(self):
        print(f"MILLRACE_SEED={SEED}", flush=True)
        chance = random.Random(SEED)
        gateway, workers = self.start_cluster()
        gateway.apply(self.function(seconds=0.05))
        over = threading.Event()
        troubles = []

        def kill_workers():
            while not over.wait(WORKER_EVERY_S):
                worker = chance.choice(workers)
                self.kill_at_once(worker)
                worker.start()

        def kill_broker():
            while not over.wait(BROKER_EVERY_S):
                self.nats.kill()
                self.nats.start()

        def guarded(work):
            try:
                work()
            except BaseException as trouble:  # whatever it is, the test must end and tell
                troubles.append(trouble)
                over.set()
        threads = [threading.Thread(target=guarded, args=[work]) for work in (kill_workers, kill_broker)]
        for thread in threads:
            thread.start()
        try:
            for first in range(0, EVENTS, BATCH):
                self.drop_many(gateway, first, min(BATCH, EVENTS - first))
                wanted = max(0, first - 5 * BATCH)
                harness.until(lambda: over.is_set() or len(gateway.names("out")) >= wanted, "it keeps up", 600)
            harness.until(lambda: over.is_set() or len(gateway.names("out")) >= EVENTS, "all are there", 1800)
        finally:
            over.set()
            for thread in threads:
                thread.join()
        self.assertEqual(troubles, [])
        harness.until(lambda: gateway.request("GET", "/api/v1/topics").status == 200, "the broker is back")
        self.wait_for_outputs(gateway, EVENTS, 600)
        runs = self.assert_each_once(gateway, EVENTS)
        print({node: sum(run["node"] == node for run in runs) for node in {run["node"] for run in runs}},
              "losses:", sum(run.get("losses", 0) for run in runs))


if __name__ == "__main__":
    harness.main()
