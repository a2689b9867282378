"""The state store on PostgreSQL, as `millrace serve --state postgres://...` finds it."""
import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile

import harness

GREETING = b"Hello, Grace!\n"


class Postgres:
    """A cluster of its own, reached through a socket in its directory; root starts it as the user postgres."""

    def __init__(self):
        versions = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not versions:
            raise AssertionError("no PostgreSQL server: run `scripts/install_packages test`")
        self.programs = versions[-1].parent
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-postgres-"))
        self.folder.chmod(0o755)
        self.run = self.folder / "run"
        self.run.mkdir()
        self.user = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.run, user.pw_uid, user.pw_gid)
            self.user = ["--reuid=postgres", "--regid=postgres", "--clear-groups"]
        self.process = None
        subprocess.run([*self.as_its_user(), self.programs / "initdb", f"--pgdata={self.run}/data", "--auth=trust",
                        "--username=postgres", "--no-sync", "--no-instructions"], check=True, cwd="/",
                       stdout=subprocess.DEVNULL)

    def as_its_user(self):
        return ["setpriv", "--pdeathsig=KILL", *self.user]

    def url(self):
        return f"postgres://postgres@/postgres?host={self.run}"

    def start(self, *settings):
        options = ["listen_addresses=", "shared_buffers=32MB", "recovery_init_sync_method=syncfs", *settings]

        def is_ready():
            if self.process is None or self.process.poll() is not None:
                with open(self.folder / "log", "ab") as log:
                    self.process = subprocess.Popen(
                        [*self.as_its_user(), self.programs / "postgres", "-D", f"{self.run}/data", "-k", self.run,
                         *(word for option in options for word in ("-c", option))],
                        stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
            return subprocess.run([self.programs / "pg_isready", "--quiet", f"--host={self.run}"]).returncode == 0
        harness.until(is_ready, "PostgreSQL is ready")

    def ask(self, sql):
        return subprocess.run([self.programs / "psql", "--no-psqlrc", "--tuples-only", "--no-align",
                               f"--dbname={self.url()}", f"--command={sql}"],
                              check=True, capture_output=True).stdout.decode().strip()

    def kill(self):
        if self.process is None:
            return
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.process.kill()
        for pid in children:
            harness.kill(int(pid))
        self.process.wait()
        self.process = None

    def close(self):
        self.kill()
        shutil.rmtree(self.folder)


class State(harness.TestCase):
    def start_postgres(self, *settings):
        postgres = Postgres()
        self.addCleanup(postgres.close)
        postgres.start(*settings)
        return postgres

    def test_hello_with_its_state_in_postgres(self):
        postgres = self.start_postgres()
        server = self.start_server({"--state": postgres.url()})
        server.cli("apply", str(harness.EXAMPLES / "hello" / "functions.yaml"))
        self.assertEqual(server.cli("run", "hello", stdin=b"Ada\n").stdout, b"Hello, Ada!\n")
        server.cli("put", "-", "names/a.txt", stdin=b"Grace")
        server.wait_idle()
        self.assertEqual(server.cli("get", "greetings/a.txt.greeting").stdout, GREETING)
        before = {"functions": server.ask("ls"), "runs": server.runs()}
        self.assertIn("succeeded", [run["outcome"] for run in before["runs"]])
        self.assertFalse((server.data / "state.db").exists())

        server.restart()
        server.wait_idle()
        self.assertEqual({"functions": server.ask("ls"), "runs": server.runs()}, before)
        rows = int(postgres.ask("SELECT count(*) FROM millrace.runs WHERE placed AND published"))
        self.assertEqual(rows, len(before["runs"]))
        self.assertEqual(server.stop(), 0)

    def test_postgres_dies_and_comes_back_while_files_arrive(self):
        postgres = self.start_postgres()
        server = self.start_server({"--state": postgres.url()})
        server.cli("apply", str(harness.EXAMPLES / "hello" / "functions.yaml"))
        names = [f"n{number}.txt" for number in range(60)]
        for number, name in enumerate(names):
            # Not by `put`, which would be refused while the server is away: a file that appears waits.
            path = server.data / "buckets" / "names" / name
            path.with_suffix(".part").write_text("Grace")
            os.rename(path.with_suffix(".part"), path)
            if number % 20 == 10:
                postgres.kill()
                postgres.start()

        def greeted():
            found = {path.name for path in (server.data / "buckets" / "greetings").glob("*.greeting")}
            return found if len(found) == len(names) else None
        self.assertEqual(harness.until(greeted, "every file is greeted", 120),
                         {f"{name}.greeting" for name in names})
        server.wait_idle()
        self.assertEqual(int(postgres.ask("SELECT count(*) FROM millrace.runs WHERE outcome = 'succeeded'")),
                         len(names))
        self.assertEqual(server.stop(), 0)

    def test_health_tells_of_a_postgres_that_is_away(self):
        postgres = self.start_postgres()
        server = self.start_server({"--state": postgres.url()})
        self.assertEqual(server.troubles(), [])
        postgres.kill()
        (what, reason), = harness.until(server.troubles, "it says so")
        self.assertEqual(what, "state")
        self.assertTrue(reason)
        self.assertEqual(server.request("GET", "/health/live", token=None).status, 200)
        postgres.start()
        harness.until(server.is_healthy, "it takes work again")

    def test_server_that_confirms_too_early_is_refused(self):
        postgres = self.start_postgres("fsync=off")
        server = self.make_server({"--state": postgres.url()})
        self.assert_does_not_start(server, "fsync is off", "--allow-weak-durability")
        server.options["--allow-weak-durability"] = "yes"
        server.start()
        self.assertIn("may lose what it confirmed", server.log())

    def test_password_in_the_url_is_refused(self):
        server = self.make_server({"--state": "postgres://ada:s3cret@127.0.0.1:1/runs"})
        self.assert_does_not_start(server, "PGPASSFILE")
        self.assertNotIn("s3cret", server.log())

    def test_check_says_what_is_at_the_url(self):
        postgres = self.start_postgres()
        checked = subprocess.run([harness.BIN, "check"], capture_output=True,
                                 env=os.environ | {"MILLRACE_STATE": postgres.url()})
        self.assertRegex(checked.stdout.decode(), r"state +real +PostgreSQL [0-9]+\.[0-9]+, synced, at ")
        postgres.kill()
        checked = subprocess.run([harness.BIN, "check"], capture_output=True,
                                 env=os.environ | {"MILLRACE_STATE": postgres.url()})
        self.assertRegex(checked.stdout.decode(), r"state +missing ")


if __name__ == "__main__":
    harness.main()
