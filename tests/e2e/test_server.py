"""The server itself: who may use it, what it refuses to start on, and how it ends."""
import os
import pwd
import signal
import socket
import subprocess

import harness


class ServerItself(harness.TestCase):
    def refuse_to_start(self, server, *expected):
        server.launch()
        status = server.process.wait(60)
        server.process = None
        self.assertNotEqual(status, 0)
        for text in expected:
            self.assertIn(text, server.log())

    def test_only_the_launcher_and_the_supervisor_are_root(self):
        server = self.start_server()
        user = pwd.getpwnam(harness.USER).pw_uid
        for pid in server.children("daemon"):
            self.assertEqual(os.stat(f"/proc/{pid}").st_uid, user)
        self.assertEqual(len(server.children("daemon")), 1)
        self.assertEqual(len(server.children("launcher")), 1)
        self.assertEqual(os.stat(server.data / "admin-token").st_mode & 0o777, 0o600)
        self.assertEqual(server.stop(), 0)

    def test_tokens(self):
        server = self.start_server()
        for token in (None, "", "wrong", server.token()[:-1], server.token() + "x"):
            with self.subTest(token):
                answer = server.request("GET", "/api/v1/functions", token=token)
                self.assertEqual(answer.status, 401)
                self.assertNotIn(server.token().encode(), answer.body)
        self.assertEqual(server.request("GET", "/api/v1/nothing", token=None).status, 401)
        self.assertEqual(server.request("GET", "/health", token=None).status, 200)
        server.cli("ls", status=4, env={"MILLRACE_TOKEN": "wrong"})
        server.cli("ls", env={"MILLRACE_TOKEN": server.token()})
        server.restart()
        server.cli("ls")

    def test_malformed_requests(self):
        server = self.start_server()
        for request, told in (
                (b"\0\0\0\0\r\n\r\n", b"malformed"), (b"GET\r\n\r\n", b"malformed"),
                (b"GET /health HTTP/1.1\r\n\r\n", b"expected one Host"),
                (b"GET /health HTTP/9.9\r\nHost: x\r\n\r\n", b"HTTP/1.1 or HTTP/1.0"),
                (b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", b"Content-Length"),
                (b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                 b"Transfer-Encoding"),
                (b"GET /api/v1/%zz HTTP/1.1\r\nHost: x\r\n\r\n", b"two hex digits"),
                (b"GET / HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\n\r\n", b"malformed")):
            with self.subTest(request[:60]):
                with socket.create_connection(server.address(), timeout=30) as connection:
                    connection.sendall(request)
                    with connection.makefile("rb") as answer:  # to the end: nothing can follow such a request
                        status, _, rest = answer.read().partition(b"\r\n")
                self.assertEqual(status, b"HTTP/1.1 400 Bad Request")
                self.assertIn(told, rest)
        self.assertTrue(server.is_healthy())
        server.cli("ls")

    def test_endless_header(self):
        server = self.start_server()
        with socket.create_connection(server.address(), timeout=30) as connection:
            try:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 10_000_000)
                status = connection.recv(4096)
            except ConnectionError:
                status = b""  # closed before we were done
        self.assertTrue(status == b"" or status.startswith(b"HTTP/1.1 431 "), status)
        self.assertTrue(server.is_healthy())

    def test_unknown_routes_and_wrong_bodies(self):
        server = self.start_server()
        for method, path, body, status in (
                ("GET", "/api/v1/nothing", None, 404), ("PATCH", "/api/v1/functions", None, 405),
                ("POST", "/api/v1/functions", b"{", 400), ("POST", "/api/v1/functions", b"\xff", 400),
                ("GET", "/api/v1/runs?limit=0", None, 400), ("GET", "/api/v1/runs?since=soon", None, 400),
                ("GET", "/api/v1/runs?limt=5", None, 400),
                ("GET", "/api/v1/runs/none", None, 404), ("POST", "/api/v1/functions/none/invoke", b"", 404),
                ("GET", "/api/v1/buckets/none/objects", None, 404), ("POST", "/api/v1/topics/fn.x/events", b"", 400),
                ("POST", "/api/v1/topics/UPPER/events", b"", 400)):
            with self.subTest(f"{method} {path}"):
                answer = server.request(method, path, body)
                self.assertEqual(answer.status, status, answer.body)
                self.assertTrue(answer.json()["error"]["message"])

    def test_second_server_on_one_directory(self):
        server = self.start_server()
        server.apply({"name": "f", "script": "exec sleep 1000\n"})  # one process from its start on
        run = server.cli("run", "f", "--async").stdout.decode().strip()
        running = harness.until(lambda: server.children("function"), "the function runs")
        address = server.address()
        other = subprocess.run([harness.BIN, "serve", "--data", str(server.data), "--listen", "127.0.0.1:0"],
                               stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
        self.assertNotEqual(other.returncode, 0)
        self.assertIn(str(server.data), other.stderr)
        self.assertIn(f"in use by another server (process {server.process.pid})", other.stderr)
        self.assertEqual(server.address(), address)
        self.assertEqual(server.children("function"), running)
        self.assertEqual(len(server.ask("runs", run)["attempts"]), 1)
        server.cli("cancel", run)
        server.wait_idle()

    def test_ipv6(self):
        server = self.make_server({"--listen": "[::1]:0"})
        server.launch()
        harness.until(lambda: server.process.poll() is not None or (server.data / "listen").exists(), "it listens")
        if server.process.poll() is not None:
            self.assertIn("listen on [::1]", server.log())
            server.process = None
            self.skipTest("this machine has no IPv6")
        self.assertTrue((server.data / "listen").read_text().startswith("[::1]:"))
        server.cli("ls")

    def test_newer_data_is_left_alone(self):
        server = self.start_server()
        server.stop()
        (server.data / "version").write_text("999\n")
        before = sorted(os.listdir(server.data))
        self.refuse_to_start(server, "999", "newer")
        self.assertEqual(sorted(name for name in os.listdir(server.data)),
                         [name for name in before if name != "listen"])

    def test_directory_of_somebody_else(self):
        server = self.make_server()
        server.data.mkdir()
        self.refuse_to_start(server, str(server.data), "belongs to")

    def test_data_that_is_a_file(self):
        server = self.make_server()
        server.data.write_text("x")
        self.refuse_to_start(server, str(server.data))

    def test_taken_port(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            self.refuse_to_start(self.make_server({"--listen": f"127.0.0.1:{port}"}), str(port))

    def test_wrong_options(self):
        for name, value, text in (("memry", "1Gi", "memry"), ("memory", "5 apples", "5 apples"),
                                  ("listen", "0.0.0.0:0", "0.0.0.0")):
            with self.subTest(name):
                server = self.make_server({"--" + name: value}, name=name)
                self.refuse_to_start(server, text)
                self.assertFalse(server.data.exists())

    def test_host_without_isolation(self):
        self.refuse_to_start(self.make_ordinary_server(namespaces=False), "functions cannot be isolated on this host",
                             "namespaces and seccomp (the launcher does not run as root, and this host refuses an ordinary "
                             "user user namespaces; `sysctl ", "--allow-missing-isolation yes")

    def test_root_that_may_not_make_namespaces(self):
        for kind, name in (("user", "user"), ("mnt", "mount"), ("net", "network")):
            with self.subTest(kind):
                forbid = f"echo 0 > /proc/sys/user/max_{kind}_namespaces && exec \"$@\""
                wrapper = ["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh"]
                if subprocess.run([*wrapper, "true"], check=False).returncode != 0:
                    self.skipTest("user namespaces cannot be made here, or not be limited")
                self.refuse_to_start(self.make_server({"--stay-root": "yes"}, kind, wrapper),
                                     f"functions cannot be isolated on this host: namespaces (this host does not let "
                                     f"root make {name} namespaces)")

    def test_host_without_isolation_that_somebody_accepts(self):
        server = self.make_ordinary_server({"--allow-missing-isolation": "yes"}, namespaces=False).start()
        self.assertIn("functions cannot be isolated", server.log())
        refused = server.apply({"name": "contained", "script": harness.COPY}, status=None)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn(b"executor: container is not possible on this host", refused.stderr)
        applied = server.apply({"name": "bare", "script": harness.COPY, "executor": "process",
                                "input": ["in"], "output": ["out"]})
        self.assertIn(b"executor: process isolates nothing", applied.stdout + applied.stderr)
        server.drop("in", "a", b"x")
        server.wait_idle()
        self.assert_one_output(server, "out", "a", b"x")
        self.assertEqual([run["outcome"] for run in server.runs("bare")], ["succeeded"])

    def test_log_level_counts_for_every_process(self):
        server = self.start_server({"--log-level": "warn"})
        self.assertEqual(server.log(), "")
        os.kill(server.children("daemon")[0], signal.SIGKILL)
        harness.until(lambda: "daemon died, starting it again" in server.log(), "the supervisor warns")
        harness.until(server.is_healthy, "the server is back")
        self.assertNotIn(" INFO ", server.log())

    def test_stop_lets_a_running_function_finish(self):
        server = self.start_server()
        server.apply({"name": "f", "script": '#!/bin/sh\nsleep 2\ncp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"\n',
                      "input": ["in"], "output": ["out"]})
        server.drop("in", "a", b"x")
        harness.until(lambda: any(run.get("state") == "running" for run in server.ask("runs")["runs"]), "the run goes on")
        self.assertEqual(server.stop(), 0)
        server.start()
        server.wait_idle()
        self.assert_one_output(server, "out", "a", b"x")
        self.assertEqual([run["outcome"] for run in server.runs("f")], ["succeeded"])

    def test_ctrl_c_lets_a_running_function_finish(self):
        server = self.start_server()
        server.apply({"name": "f", "script": '#!/bin/sh\nsleep 2\ncp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"\n',
                      "input": ["in"], "output": ["out"]})
        server.drop("in", "a", b"x")
        harness.until(lambda: server.children("function"), "the function runs")
        os.killpg(server.process.pid, signal.SIGINT)  # a terminal tells every process
        self.assertEqual(server.process.wait(harness.STOP_TIMEOUT_S), 0)
        server.process = None
        self.assert_one_output(server, "out", "a", b"x")

    def test_nothing_outlives_the_supervisor(self):
        server = self.start_server()
        server.apply({"name": "f", "script": "sleep 1000\n"})
        server.cli("run", "f", "--async")
        harness.until(lambda: server.children("function"), "the function runs")
        server.kill()


if __name__ == "__main__":
    harness.main()
