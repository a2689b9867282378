"""Full means wait or come back, never a drop; and what is hit is counted."""
import re
import socket

import harness

MEBIBYTE = 1 << 20


class Bounds(harness.TestCase):
    def metric(self, server, name):
        text = server.request("GET", "/metrics").body.decode()
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))

    def test_connections(self):
        server = self.start_server({"--connections-max": "2"})

        def served():
            """A connection that stays; nothing while those that waited for the start are still being closed."""
            connection = socket.create_connection(server.address(), timeout=60)
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            if b" 200 " in connection.recv(4096):
                return connection
            connection.close()
            return None

        idle = []
        try:
            for _ in range(2):
                idle.append(harness.until(served, "there is room"))
            with socket.create_connection(server.address(), timeout=60) as third:
                with third.makefile("rb") as answer:
                    self.assertTrue(answer.read().startswith(b"HTTP/1.1 503 "))
        finally:
            for connection in idle:
                connection.close()
        harness.until(server.is_healthy, "there is room again")
        harness.until(lambda: self.metric(server, "millrace_http_connections_refused_total") >= 1, "it was counted")

    def test_objects_and_events_that_are_too_large(self):
        server = self.start_server({"--object-bytes-max": "1Mi"})
        server.apply({"name": "f", "script": "true\n", "input": ["in"]})
        objects, events = "/api/v1/buckets/in/objects/", "/api/v1/topics/news/events"
        self.assertEqual(server.request("PUT", objects + "most", b"x" * MEBIBYTE).status // 100, 2)
        answer = server.request("PUT", objects + "more", b"x" * (MEBIBYTE + 1))
        self.assertEqual(answer.status, 413, answer.body)
        self.assertEqual(server.names("in"), {b"most"})
        self.assertEqual(server.request("POST", events, b"x" * MEBIBYTE).status // 100, 2)
        answer = server.request("POST", events, b"x" * (MEBIBYTE + 1))
        self.assertEqual(answer.status, 413, answer.body)
        self.assertEqual([topic["pending"] for topic in server.ask("topics")["topics"] if topic["name"] == "news"], [1])

    def test_more_runs_than_are_listed_or_fit_still_run(self):
        server = self.start_server({"--queued-runs-max": "2", "--cpu": "500m", "--hold": "100ms"})
        server.apply({"name": "copy", "script": harness.COPY, "input": ["in"], "output": ["out"], "cpu": "500m"})
        for number in range(20):
            server.drop("in", str(number), b"%d" % number)
        server.wait_idle()
        self.assertEqual(server.names("out"), {b"%d" % number for number in range(20)})
        self.assertEqual([run["outcome"] for run in server.runs("copy")], ["succeeded"] * 20)


if __name__ == "__main__":
    harness.main()
