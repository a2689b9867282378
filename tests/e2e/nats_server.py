"""A NATS server of a test, on free ports, with a store of its own. MILLRACE_NATS_SERVER names the program
(scripts/fetch_nats_server prints it)."""
import os
import subprocess
import urllib.request

import harness

SERVER = os.environ.get("MILLRACE_NATS_SERVER", "")  # nothing: this is a build without NATS


def require(test):
    if not SERVER:
        test.skipTest("a build without NATS, or nobody says MILLRACE_NATS_SERVER=$(scripts/fetch_nats_server)")


class NatsServer:
    def __init__(self, folder, sync=True):
        if not os.access(SERVER, os.X_OK):
            raise AssertionError(
                "MILLRACE_NATS_SERVER names no program; say MILLRACE_NATS_SERVER=$(scripts/fetch_nats_server)")
        self.folder = folder / "nats"
        self.folder.mkdir()
        self.port, self.monitor_port = harness.free_port(), harness.free_port()
        self.sync = sync
        self.process = None
        self.start()

    def start(self):
        config = self.folder / "nats.conf"
        sync = "sync_interval: always" if self.sync else ""
        config.write_text(f'listen: "127.0.0.1:{self.port}"\nhttp: "127.0.0.1:{self.monitor_port}"\nmax_payload: 2MB\n'
                          f'jetstream {{\n  store_dir: "{self.folder}/store"\n  max_file_store: 4GB\n  {sync}\n}}\n')
        with open(self.folder / "nats.log", "ab") as log:
            self.process = subprocess.Popen([SERVER, "-c", str(config)], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, preexec_fn=harness.die_with_parent)
        harness.until(self.ready, "the NATS server is ready")

    def ready(self):
        assert self.process.poll() is None, (self.folder / "nats.log").read_text()
        try:
            with urllib.request.urlopen(f"{self.monitor}/healthz", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def kill(self):
        self.process.kill()
        self.process.wait()

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.port}"

    @property
    def monitor(self):
        return f"http://127.0.0.1:{self.monitor_port}"


class OnNats:
    """For a harness.TestCase: what `start` starts has its events on NATS, if this build can."""

    def start(self):
        require(self)
        self.nats = NatsServer(self.folder)
        self.addCleanup(self.nats.kill)
        return self.start_server({"--broker": self.nats.url, "--nats-monitor": self.nats.monitor})
