"""Images that are directories, secrets and files: from the definition to the function, and nowhere else."""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import harness

SECRET = "correct-horse-battery-staple"


def digest_of(text):
    return hashlib.sha256(text.encode()).hexdigest().encode()


def make_image(place):
    """A root file system of one static program."""
    root = place / "small"
    for name in ("bin", "etc", "tmp", "proc", "data"):
        (root / name).mkdir(parents=True)
    shutil.copy("/usr/bin/busybox", root / "bin/busybox")
    for tool in ("sh", "cat", "ls", "id", "cp", "grep", "stat"):
        (root / "bin" / tool).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    return root


class Images(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.require_packages("test")
        self.place = pathlib.Path(tempfile.mkdtemp(prefix="millrace-images-", dir="/var/tmp"))
        self.place.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.place, True)
        self.image = make_image(self.place)
        self.server = self.start_server({"--image-directories": str(self.place)})

    def out(self, *arguments, stdin=b"x"):
        return self.server.cli(*arguments, stdin=stdin).stdout.decode(errors="replace")

    def call(self, name):
        return self.out("run", name)

    def refusal(self, done):
        self.assertNotEqual(done.returncode, 0, done.stdout)
        return (done.stdout + done.stderr).decode(errors="replace")

    def test_runs_in_a_directory(self):
        self.server.apply({"name": "small", "image": f"rootfs:{self.image}",
                           "script": "#!/bin/sh\nls / | grep -c usr\nid -u\ncat /etc/passwd\n"})
        self.assertEqual(self.call("small"), "0\n0\nroot:x:0:0::/:/bin/sh\n")

    def test_file_in_and_out_of_a_copy_on_write_root(self):
        self.server.apply({"name": "small", "image": f"rootfs:{self.image}", "root": "copy_on_write",
                           "profile": "compat", "input": [{"path": "in"}], "output": [{"path": "out"}],
                           "script": "#!/bin/sh\nset -e\ncp \"$INPUT_FILE_PATH\" /data/kept\n"
                                     "cp /data/kept \"$TMP_OUTPUT_DIR/$FILE_NAME\"\n"})
        self.server.drop("in", "a.txt", b"content")
        self.server.wait_idle()
        self.assert_one_output(self.server, "out", "a.txt", b"content")
        self.assertEqual(list((self.image / "data").iterdir()), [])

    def test_what_cannot_be_an_image_is_refused_when_applied(self):
        def refused(image, *expected, script="#!/bin/sh\ntrue\n"):
            said = self.refusal(
                self.server.apply({"name": "small", "image": image, "script": script}, status=None))
            for text in expected:
                self.assertIn(text, said)

        refused("rootfs:/no/such/place", "there is no such directory")
        refused(f"rootfs:{self.image}/etc/passwd", "is no directory")
        refused("rootfs:/usr", "image_directories", str(self.place))
        refused(f"rootfs:{self.image}", "has no /usr/bin/python3", script="#!/usr/bin/python3\n")
        closed = self.place / "closed"
        closed.mkdir(mode=0o700)
        refused(f"rootfs:{closed}", "may not read it")
        # A link to elsewhere is where it leads.
        (self.place / "link").symlink_to("/usr")
        refused(f"rootfs:{self.place}/link", "image_directories")
        (self.image / "dev").symlink_to("/dev")
        refused(f"rootfs:{self.image}", "/dev is a symbolic link")
        (self.image / "dev").unlink()
        shutil.rmtree(self.image / "bin")
        refused(f"rootfs:{self.image}", "has no /bin/sh", script="true\n")

    def test_image_that_went_bad_after_it_was_applied(self):
        self.server.apply({"name": "small", "image": f"rootfs:{self.image}", "script": "#!/bin/sh\ntrue\n"})
        shutil.rmtree(self.image / "tmp")
        (self.image / "tmp").symlink_to("/var/tmp")
        said = self.refusal(self.server.cli("run", "small", stdin=b"x", status=None))
        self.assertIn("step image", said)
        self.assertIn("/tmp", said)

    def test_secrets_are_files_of_the_function_and_nothing_else(self):
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        (folder / "key.bin").write_bytes(b"a\0b" + SECRET.encode())
        definition = folder / "functions.json"
        definition.write_text(json.dumps({"functions": {"millrace": [
            {"name": "keeper",
             "secrets": {"key": {"file": "key.bin"}, "token": SECRET},
             "files": {"/etc/keeper/labels.txt": "cat\ndog\n"},
             "script": "#!/bin/sh\nstat -c '%a %u %s' /run/secrets/key /run/secrets/token\n"
                       "id -u\ncat /etc/keeper/labels.txt\nenv; tr '\\0' ' ' </proc/self/cmdline\n"
                       "[ \"$(sha256sum </run/secrets/token | cut -c1-64)\" = \"$(cat)\" ] && echo same\n"}]}}))
        self.server.cli("apply", str(definition))
        said = self.out("run", "keeper", stdin=digest_of(SECRET))
        size = len(SECRET)
        self.assertTrue(said.startswith(f"400 65533 {size + 3}\n400 65533 {size}\n65533\ncat\ndog\n"), said)
        self.assertTrue(said.endswith("same\n"), said)
        self.assertNotIn(SECRET, said)

        # Names, where people and programs look, and never the content.
        for listing in (self.out("ls", "-o", "json"), self.out("ls")):
            self.assertNotIn(SECRET, listing)
        shown = self.server.request("GET", "/api/v1/functions/keeper")
        self.assertEqual(shown.json()["secrets"], ["key", "token"])
        self.assertNotIn(SECRET, shown.body.decode())
        self.assertNotIn(SECRET, self.out("runs", "-o", "json"))
        self.assertNotIn(SECRET, self.server.log())
        for pid in self.server.own_pids():
            for name in ("cmdline", "environ"):
                self.assertNotIn(SECRET.encode(), harness.read_proc(pid, name))
        # On disk: in the state store alone, which only the daemon's user may read.
        holding = subprocess.run(["grep", "-rlaF", SECRET, str(self.server.data)], capture_output=True, text=True).stdout
        holding = {pathlib.Path(line) for line in holding.splitlines()}
        self.assertTrue(holding)
        for path in holding:
            self.assertTrue(path.name.startswith("state.db"), path)
            self.assertEqual(path.stat().st_mode & 0o077, 0, path)

        # A new value is a new revision; it outlives the server.
        definition.write_text(definition.read_text().replace(SECRET, SECRET.upper()))
        self.assertIn(" changed", self.out("apply", str(definition)))
        self.assertIn(" unchanged", self.out("apply", str(definition)))
        self.server.restart()
        self.assertTrue(self.out("run", "keeper", stdin=digest_of(SECRET.upper())).endswith("same\n"))

    def test_secrets_and_files_that_cannot_be(self):
        def refused(expected, **fields):
            said = self.refusal(
                self.server.apply({"name": "keeper", "script": "#!/bin/sh\ntrue\n", **fields}, status=None))
            self.assertIn(expected, said)
            self.assertNotIn(SECRET, said)

        refused("at most 64 are accepted", secrets={f"s{i}": SECRET for i in range(1000)})
        refused("at most 65536 are accepted", secrets={"big": SECRET * 3000})
        refused("cannot be the name of a secret", secrets={"../etc/passwd": SECRET})
        refused("must be a text", secrets={"token": [SECRET]})
        refused("contains a NUL byte", environment={"TOKEN": "a\0b"})
        refused("lies where every run has a place of its own (/tmp, /dev, /proc, /sys, /run/secrets, /oscar)",
                files={"/run/secrets/x": "x"})
        refused("executor: process", secrets={"token": SECRET}, executor="process")
        refused("executor: process", image=f"rootfs:{self.image}", executor="process")
        refused("copy_on_write needs an image of its own", root="copy_on_write")

    def test_files_that_have_no_place_are_refused_when_applied(self):
        def refused(expected, path, **fields):
            said = self.refusal(self.server.apply({"name": "keeper", "script": "#!/bin/sh\ntrue\n", "files": {path: "x"},
                                                   **fields}, status=None))
            self.assertIn(f"files: cannot place the file {path}", said)
            self.assertIn(expected, said)
            self.assertEqual(self.server.ask("ls")["functions"], [])

        image = f"rootfs:{self.image}"
        (self.image / "link").symlink_to("data")
        for executor in ("container", "oci"):
            with self.subTest(executor):
                if executor == "oci" and not self.has_oci():
                    self.skipTest("no OCI runtime can be used on this host")
                for path in ("/etc", "/usr", "/usr/bin"):
                    refused("a file would take the place of all that it shows", path, executor=executor)
                refused("a file would take the place of all that it shows", "/bin", image=image, executor=executor)
                refused("a file lies where the path needs a directory", "/etc/passwd/x", executor=executor)
                refused("at /link: ", "/link/x", image=image, executor=executor)
                if os.path.islink("/bin"):
                    refused("a link is in the way", "/bin/x", executor=executor)
                # What every image must leave to us is looked at then, too.
                (self.image / "run").mkdir()
                (self.image / "run/secrets").symlink_to("/etc")
                said = self.refusal(self.server.apply({"name": "keeper", "script": "#!/bin/sh\ntrue\n", "image": image,
                                                       "executor": executor}, status=None))
                self.assertIn("/run/secrets", said)
                shutil.rmtree(self.image / "run")

    def has_oci(self):
        checked = self.out("check", "--data", str(self.server.data))
        return any(line.split()[:2] == ["oci_runtimes", "real"] for line in checked.splitlines())

    def test_largest_secrets_fit(self):
        self.server.apply({"name": "keeper", "secrets": {f"s{i}": "x" * 65536 for i in range(64)},
                           "script": "#!/bin/sh\ncat /run/secrets/* | wc -c\n"})
        self.assertEqual(self.call("keeper").strip(), str(64 * 65536))


class HostImage(harness.TestCase):
    def test_host_image_shows_and_hides_what_the_server_says(self):
        models = pathlib.Path(tempfile.mkdtemp(prefix="millrace-models-", dir="/srv"))
        models.chmod(0o755)
        self.addCleanup(shutil.rmtree, models, True)
        (models / "private").mkdir()
        (models / "labels.txt").write_text("cat\n")
        (models / "private" / "key").write_text("secret\n")
        options = {"--host-image-show": str(models), "--host-image-hide": f"{models}/private, /etc/fstab"}
        server = self.start_server(options)
        server.apply({"name": "look", "script": f"#!/bin/sh\ncd {models} && ls && cat labels.txt\n"
                                                "echo x 2>/dev/null > labels.txt || echo read-only\n"
                                                "ls -d private/key /etc/fstab 2>/dev/null || echo hidden\n"})
        self.assertEqual(server.cli("run", "look", stdin=b"x").stdout, b"labels.txt\ncat\nread-only\nhidden\n")

        def check(data):
            given = {f"MILLRACE_{name[2:].upper().replace('-', '_')}": value for name, value in options.items()}
            return subprocess.run([harness.BIN, "check", "--data", data], stdout=subprocess.PIPE, text=True,
                                  env=os.environ | given).stdout

        self.assertRegex(check(self.folder), rf"host_image +real +.*besides {models}; not {models}/private, /etc/fstab")
        self.assertRegex(check(models / "data"), r"host_image +missing .*the server's own data")


if __name__ == "__main__":
    harness.main()
