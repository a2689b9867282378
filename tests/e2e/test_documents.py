"""What the documents tell users to type is typed: every ```sh block of the READMEs, line by line.

In the blocks, `COMMAND   # => TEXT` says what the command prints. A block that ends with `... serve` starts the server
that the following blocks talk to. The commands run in a directory that looks like a checkout, and what is not ours to
touch is replaced: /var/lib/millrace and /tmp by directories of the test, the port by a free one, `sudo` by nothing, and
`make` by a look whether its targets exist.
"""
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess

import harness
import nats_server

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMISED = re.compile(r"\s#\s=>\s(.*)$")
BLOCK_TIMEOUT_S = 240  # a hang guard
STAND_INS = {"sudo": 'exec "$@"', "make": f"exec /usr/bin/make -C '{harness.REPOSITORY}' -n \"$@\" >/dev/null"}


def blocks(document, language):
    return [text for found, text in BLOCK.findall((harness.REPOSITORY / document).read_text()) if found == language]


def free_tens(count):
    """Numbers behind which each digit makes a port that was free a moment ago."""
    found = []
    for tens in random.sample(range(2000, 3200), 1200):
        probes = [socket.socket() for _ in range(10)]
        try:
            for digit, probe in enumerate(probes):
                probe.bind(("127.0.0.1", 10 * tens + digit))
            found.append(tens)
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()
        if len(found) == count:
            return found
    raise AssertionError("no free ports")


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Documents(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.server = self.make_server()
        self.checkout = self.folder / "checkout"
        (self.checkout / "build" / "release").mkdir(parents=True)
        (self.checkout / "build" / "release" / "millrace").symlink_to(harness.BIN)
        (self.checkout / "scripts").symlink_to(harness.REPOSITORY / "scripts")
        shutil.copytree(harness.EXAMPLES, self.checkout / "config" / "examples")
        self.programs = self.folder / "programs"
        self.programs.mkdir()
        for name, script in STAND_INS.items():
            (self.programs / name).write_text(f"#!/bin/sh\n{script}\n")
            (self.programs / name).chmod(0o755)
        self.replaced = {"/var/lib/millrace": str(self.server.data), "/tmp/": f"{self.folder}/"}

    def environment(self, **variables):
        path = f"{self.programs}:{self.checkout}/build/release:/usr/bin:/bin:/usr/sbin:/sbin"
        return {"PATH": path, "HOME": str(self.folder), "LC_ALL": "C.UTF-8"} | variables

    def commands(self, block):
        """[(command, what it prints or None)] with our replacements."""
        block = re.sub("|".join(self.replaced), lambda found: self.replaced[found[0]], block)
        lines = [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]
        return [(PROMISED.sub("", line), found[1] if (found := PROMISED.search(line)) else None) for line in lines]

    def follow(self, document, **variables):
        """Types every block; how many commands there were."""
        count = 0
        for block in blocks(document, "sh"):
            commands = self.commands(block)
            count += len(commands)
            serve = re.search(r"(^|\s)serve(\s|$)", commands[-1][0].partition("#")[0])
            self.type(commands[:-1] if serve else commands, variables)
            if serve:
                self.serve(commands[-1][0])
        return count

    def type(self, commands, variables):
        """In one shell, as in one terminal, that ends at the first failure."""
        if self.server.process is not None:
            host, port = self.server.address()
            variables = variables | {"MILLRACE_URL": f"http://{host}:{port}"}
        script = "set -euo pipefail\n" + "".join(f"{command}\nprintf '\\0'\n" for command, _ in commands)
        done = subprocess.run(["/bin/bash", "-c", script], cwd=self.checkout, env=self.environment(**variables),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BLOCK_TIMEOUT_S,
                              check=False)
        outputs = done.stdout.split("\0")
        self.assertEqual((done.returncode, len(outputs) - 1), (0, len(commands)),
                         f"{commands[len(outputs) - 1:][:1]}:\n{outputs[-1]}\n{done.stderr}")
        for (command, promised), output in zip(commands, outputs):
            if promised is not None:
                self.assertEqual(output.strip(), promised, command)

    def serve(self, command):
        variables = {"MILLRACE_DATA": str(self.server.data), "MILLRACE_LISTEN": "127.0.0.1:0"}
        with open(self.server.log_path, "ab") as log:
            self.server.process = subprocess.Popen(
                ["/bin/bash", "-c", f"exec {command}"], cwd=self.checkout, env=self.environment(**variables),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=harness.die_with_parent)
        self.server.sessions.add(self.server.process.pid)
        self.server.wait_ready()

    def test_readme(self):
        self.assertGreaterEqual(self.follow("README.md"), 6)
        self.assertEqual([run["outcome"] for run in self.server.runs("hello")], ["succeeded"])

    def test_function_of_the_readme(self):
        definition, = blocks("README.md", "yaml")
        file = self.folder / "functions.yaml"
        file.write_text(definition)
        (self.folder / "thumbs.sh").write_text(harness.COPY)
        self.server.start()
        self.server.cli("apply", str(file))
        self.server.drop("pictures", "a.png", b"picture")
        self.server.wait_idle()
        self.assert_one_output(self.server, "thumbs", "a.png", b"picture")

    def test_hello(self):
        self.server.start()
        self.assertGreaterEqual(self.follow("config/examples/hello/README.md", MILLRACE_TOKEN=self.server.token()), 6)
        self.assertEqual([run["outcome"] for run in self.server.runs("hello")], ["succeeded"] * 2)

    def test_topics(self):
        definition, = blocks("docs/guides/topics.md", "yaml")
        (self.checkout / "topics.yaml").write_text(definition)
        self.server.start()
        self.assertGreaterEqual(self.follow("docs/guides/topics.md", MILLRACE_TOKEN=self.server.token()), 12)
        self.assertEqual({run["outcome"] for run in self.server.runs()}, {"succeeded"})

    def test_inputs_of_one_name_keep_apart_as_the_guide_of_functions_says(self):
        guide = (harness.REPOSITORY / "docs" / "guides" / "functions.md").read_text()
        place, = re.findall(r"Inputs of one name in several folders\s+keep apart below `([^`]+)`", guide)
        self.server.start()
        self.server.apply({"name": "apart", "input": ["in"], "output": ["out"],
                           "script": f'#!/bin/sh\nset -e\nto={place}\nmkdir -p "$to"\ncp "$INPUT_FILE_PATH" "$to/"\n'})
        keys = ("a/report.txt", "b/c d/report.txt", "report.txt")
        for key in keys:
            self.server.cli("put", "-", f"in/{key}", stdin=key.encode())
        self.server.wait_idle()
        for key in keys:
            self.assert_one_output(self.server, "out", key, key.encode())

    def test_people(self):
        self.require_packages("demo")
        subprocess.run([harness.REPOSITORY / "scripts" / "fetch_demo_video", self.checkout / "video.avi"],
                       stdin=subprocess.DEVNULL, check=True)
        file = self.checkout / "config" / "examples" / "people" / "functions.yaml"
        text = file.read_text()
        self.assertEqual(text.count("FRAMES: 20\n"), 1)
        file.write_text(text.replace("FRAMES: 20\n", "FRAMES: 2\n"))
        self.server.start()
        self.assertGreaterEqual(self.follow("config/examples/people/README.md", MILLRACE_TOKEN=self.server.token()), 4)
        self.assertEqual([run["outcome"] for run in self.server.runs("people")], ["succeeded"] * 2)

    def test_several_workers(self):
        nats_server.require(self)
        directory = self.folder / "replicas"
        self.replaced = {"/var/lib/millrace-replicas": str(directory)} | self.replaced  # the longer one first
        start, commands = blocks("docs/guides/several-workers.md", "sh")
        (command, _), = self.commands(start)
        output = self.folder / "replicas.log"
        with open(output, "wb") as log:
            replicas = subprocess.Popen(["/bin/bash", "-c", f"exec {command} {directory}"], cwd=self.checkout,
                                        env=self.environment(NATS_SERVER=nats_server.SERVER, LISTEN="127.0.0.1:0"),
                                        stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                        preexec_fn=harness.die_with_parent)
        try:
            def ready():
                self.assertIsNone(replicas.poll(), output.read_text())
                return "ready: " in output.read_text()
            harness.until(ready, "the gateway and its workers are ready", 120)
            gateway = directory / "gateway"
            self.type(self.commands(commands), {"MILLRACE_TOKEN": (gateway / "admin-token").read_text().strip()})
            nodes = json.loads(subprocess.run([harness.BIN, "nodes", "-o", "json"], capture_output=True, check=True,
                                              env={"MILLRACE_DATA": str(gateway)}).stdout)["nodes"]
            self.assertEqual([node["name"] for node in nodes], ["gateway", "worker-1", "worker-2", "worker-3"])
        finally:
            replicas.terminate()
            replicas.wait(120)
        self.assertNotEqual(replicas.returncode, 1, output.read_text())
        self.assertEqual([pid for pid in harness.all_pids()
                          if str(directory).encode() in harness.read_proc(pid, "cmdline")], [])

    def nats_in_background(self, block, environment):
        """Types what ends with the start of NATS servers, and leaves them running."""
        script = "\n".join(command for command, _ in self.commands(block)) + "\nwait\n"
        with open(self.folder / "nats.log", "ab") as log:
            servers = subprocess.Popen(["/bin/bash", "-c", script], cwd=self.checkout, env=environment,
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                       preexec_fn=harness.die_with_parent)

        def end():
            if servers.poll() is None:
                os.killpg(servers.pid, signal.SIGKILL)
                servers.wait(60)
        self.addCleanup(end)
        return end

    def shout_by(self, name, options):
        """A daemon on these servers runs a function: the rights that the guide gives suffice."""
        login = {"--nats-user": "millrace", "--nats-password-file": str(self.checkout / "nats-password")}
        server = self.make_server(login | options, name)
        server.start()
        server.apply({"name": "shout", "script": "#!/bin/sh\ntr a-z A-Z\n", "topics": ["orders"],
                      "output": [{"topic": "shouted"}]})
        server.cli("publish", "orders", "apples")
        server.wait_idle()
        self.assertEqual([run["outcome"] for run in server.runs()], ["succeeded"])
        server.stop()

    def test_nats_in_production(self):
        nats_server.require(self)
        (self.programs / "nats-server").symlink_to(nats_server.SERVER)
        clients, pages, routes = free_tens(3)
        self.replaced = {"/var/lib/nats": str(self.folder / "nats"), "/etc/millrace": str(self.checkout),
                         ":422": f":{clients}", ":822": f":{pages}", ":622": f":{routes}"} | self.replaced
        document = "docs/guides/nats-in-production.md"
        for text in blocks(document, "conf"):
            text = re.sub("|".join(self.replaced), lambda found: self.replaced[found[0]], text)
            (self.checkout / re.match(r"# (\S+)\n", text)[1]).write_text(text)
        one, check_one, three, check_three, watch = blocks(document, "sh")

        end = self.nats_in_background(one, self.environment())
        page = f"http://127.0.0.1:{pages}2"
        harness.until(lambda: listens(10 * clients + 2), "the NATS server is ready")
        (self.checkout / "nats-password").chmod(0o644)
        self.checkout.chmod(0o755)
        self.type(self.commands(check_one), {})
        self.type(self.commands(watch), {})
        self.shout_by("alone", {"--broker": f"nats://127.0.0.1:{clients}2", "--nats-monitor": page})
        end()

        self.nats_in_background(three, self.environment())

        def replicated():
            try:
                self.type(self.commands(check_three), {})
                return True
            except AssertionError:
                return False
        harness.until(replicated, "three NATS servers are one cluster", 120)
        servers = ",".join(f"127.0.0.1:{clients}{n}" for n in (1, 2, 3))
        self.shout_by("replicated", {"--broker": f"nats://{servers}", "--nats-replicas": "3"})
        self.assertNotIn("Permissions Violation", (self.folder / "nats.log").read_text())

    def test_contributing(self):
        self.assertGreaterEqual(self.follow("CONTRIBUTING.md"), 5)

    def test_every_example_is_followed_here(self):
        self.assertEqual(sorted(path.name for path in harness.EXAMPLES.iterdir()), ["hello", "people", "replicas"])

    def test_commented_configuration_is_what_the_program_prints(self):
        printed = subprocess.run([harness.BIN, "serve", "--print-config"], stdout=subprocess.PIPE, text=True, check=True)
        self.assertEqual(printed.stdout, (harness.REPOSITORY / "config" / "millrace.yaml").read_text())


if __name__ == "__main__":
    harness.main()
