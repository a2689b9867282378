"""The network of functions: what may be asked for, what is refused at apply, and what a run has used."""
import os
import re
import subprocess
import unittest

import harness

POSSIBLE = os.access("/dev/net/tun", os.R_OK | os.W_OK)


class Network(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.require_packages("run")  # of which is slirp4netns

    def function(self, **fields):
        return {"name": "f", "script": "cat /etc/resolv.conf\n", **fields}

    def test_the_hosts_network_is_refused_unless_it_is_allowed(self):
        server = self.start_server()
        message = server.apply(self.function(network="host"), status=1).stderr.decode()
        self.assertIn("network: host is not allowed by this server", message)
        self.assertEqual(server.ask("ls")["functions"], [])
        server.stop()
        allowed = self.make_server({"--allow-host-network": "yes"}, name="two").start()
        allowed.apply(self.function(network="host"))
        allowed.cli("run", "f")

    @unittest.skipUnless(POSSIBLE, "this host gives us no /dev/net/tun, of which slirp4netns makes a network")
    def test_a_private_network_has_names_and_goes_with_the_server(self):
        server = self.start_server()
        server.apply(self.function(network="private"))
        self.assertIn(b"nameserver 198.18.0.3\n", server.cli("run", "f").stdout)
        helpers = [pid for pid in harness.all_pids() if harness.read_proc(pid, "comm").strip() == b"slirp4netns"]
        self.assertTrue(helpers)
        server.stop()  # and looks for processes that are left

    @unittest.skipUnless(POSSIBLE, "this host gives us no /dev/net/tun, of which slirp4netns makes a network")
    def test_a_private_network_reaches_no_port_of_the_server(self):
        server = self.start_server()
        _, port = server.address()
        script = f"""#!/usr/bin/python3
import socket
for address in ("127.0.0.1", "198.18.0.2", "169.254.169.254"):
    try:
        socket.create_connection((address, {port}), 10)
        print("reached", address)
    except OSError as e:
        print(e.errno)
"""
        server.apply({"name": "f", "script": script, "network": "private"})
        self.assertEqual(server.cli("run", "f").stdout, b"111\n113\n113\n")

    def test_check_says_whether_private_networks_are_possible(self):
        done = subprocess.run([harness.BIN, "check", "--data", str(self.make_server().data)], capture_output=True,
                              text=True, check=False)
        states = dict(re.findall(r"^(\w+) +(\w+)", done.stdout, re.MULTILINE))
        self.assertEqual(states["network_private"], "real" if POSSIBLE else "missing", done.stdout)

    def test_ranges_are_checked_when_the_server_starts(self):
        for option in ("--network-allow", "--network-deny"):
            with self.subTest(option):
                server = self.make_server({option: "10.0.0.1/8"}, name=option.strip("-"))
                self.assert_does_not_start(server, "'10.0.0.1/8' is neither an IPv4 address nor a range")

    def test_what_a_run_used_is_in_record_and_metrics(self):
        server = self.start_server()
        server.apply({"name": "f", "script": "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done\n", "memory": "128Mi",
                      "limits": {"cpu": "100m"}})
        server.cli("run", "f")
        run = server.runs("f")[0]
        usage = run["usage"]
        self.assertEqual(usage["memory_limit_bytes"], 128 << 20)
        self.assertAlmostEqual(usage["gb_seconds"], usage["wall_us"] / 1e6 / 8, places=6)
        self.assertGreater(usage["throttled_us"], 0)
        shown = server.cli("runs", run["run_id"]).stdout.decode()
        self.assertRegex(shown, r"account +[\d.e-]+ GB-seconds, throttled \d")
        metrics = server.request("GET", "/metrics").body.decode()
        for name in ("wall_us", "cpu_us", "throttled_us", "memory_mib_ms"):
            self.assertRegex(metrics, rf'millrace_run_{name}_total{{function="f"}} [1-9]')


if __name__ == "__main__":
    harness.main()
