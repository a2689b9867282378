"""The long version of test_replicas.py: thousands of events through three workers, of which one is killed every two
seconds, and the NATS server every five. MILLRACE_REPLICAS_EVENTS says how many."""
import os
import time

import harness
from test_replicas import Cluster, longest_rest

EVENTS = int(os.environ.get("MILLRACE_REPLICAS_EVENTS", "10000"))
# A worker is dead for a second or two at a time, and the server as well. One that keeps events it has no slot for, or
# gets none although it has slots, rests for much longer.
REST_MAX_S = 20


class ReplicasSoak(Cluster):
    def test_outputs_are_inputs_while_workers_and_broker_are_killed(self):
        gateway, workers = self.start_cluster()
        gateway.apply(self.function(seconds=0.05))
        began = time.monotonic()
        kills = self.run_while_killing(gateway, workers, EVENTS, batch=200)
        took = time.monotonic() - began
        runs = self.assert_each_once(gateway, EVENTS)
        rests = {worker: longest_rest(runs, worker) for worker in ("worker-1", "worker-2", "worker-3")}
        print(f"{EVENTS} events in {took:.0f} s, {kills} kills (workers, server); runs",
              {node: sum(run["node"] == node for run in runs) for node in rests},
              "losses", sum(run.get("losses", 0) for run in runs),
              "longest rests", {node: f"{rest:.1f} s" for node, rest in rests.items()}, flush=True)
        self.assertLess(max(rests.values()), REST_MAX_S)


if __name__ == "__main__":
    harness.main()
