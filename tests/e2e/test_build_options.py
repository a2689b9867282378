"""A build without NATS and PostgreSQL: it configures, builds, and says what it lacks. The compiler's cache has everything
but the few files that differ."""
import os
import pathlib
import subprocess
import tempfile

import harness

OPTIONS = ("-DWITH_NATS=OFF", "-DWITH_POSTGRES=OFF", "-DMILLRACE_TESTS=OFF")


class BuildOptions(harness.TestCase):
    def run_in(self, *command, **variables):
        return subprocess.run([str(word) for word in command], cwd=harness.REPOSITORY, env=os.environ | variables,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False)

    def test_backends_can_be_left_out(self):
        # Beside the others, for the compiler's cache, and of this run alone.
        build = pathlib.Path(self.enterContext(
            tempfile.TemporaryDirectory(prefix="without-backends-", dir=harness.REPOSITORY / "build")))
        for command in (["cmake", "--preset", "release", "-B", build, *OPTIONS],
                        ["cmake", "--build", build, "--target", "millrace"]):
            done = self.run_in(*command)
            self.assertEqual(done.returncode, 0, done.stdout[-8000:])
        program = build / "millrace"
        libraries = self.run_in("ldd", program).stdout
        self.assertNotIn("libnats", libraries)
        self.assertNotIn("libpq", libraries)

        def refused(message, **variables):
            self.assertIn(message, self.run_in(program, "check", **variables).stdout)
            done = self.run_in(program, "serve", "--data", self.folder / "data", "--listen", "127.0.0.1:0", **variables)
            self.assertNotEqual(done.returncode, 0, done.stdout)
            self.assertIn(message, done.stdout)

        refused("built without NATS", MILLRACE_BROKER="nats://127.0.0.1:4222")
        refused("built without PostgreSQL", MILLRACE_STATE="postgres://millrace@127.0.0.1/millrace")


if __name__ == "__main__":
    harness.main()
