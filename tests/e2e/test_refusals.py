"""What the server does not start on, and that it leaves everything as it was."""
import os
import pwd
import subprocess

import harness

UNSHARED = ["unshare", "--mount", "sh", "-c"]


class Refusals(harness.TestCase):
    def test_broker_that_confirms_too_early(self):
        self.assert_does_not_start(self.make_server({"--broker": "memory:"}), "memory", "allow-weak-durability")

    def test_broker_that_confirms_too_early_and_may(self):
        server = self.make_server({"--broker": "memory:", "--allow-weak-durability": "yes"}).start()
        server.apply({"name": "f", "script": "echo hi\n"})
        self.assertEqual(server.cli("run", "f").stdout, b"hi\n")

    def test_unknown_broker(self):
        self.assert_does_not_start(self.make_server({"--broker": "carrier-pigeon://roof"}), "carrier-pigeon")

    def test_directory_that_cannot_be_made(self):
        server = self.make_server()
        server.wrapper = [*UNSHARED, f"mount -t tmpfs -o ro none '{server.data.parent}' && exec \"$@\"", "sh"]
        self.assert_does_not_start(server, str(server.data), "Read-only file system")
        self.assertFalse(server.data.exists())

    def test_directory_on_a_read_only_file_system(self):
        server = self.make_server().start()
        server.apply({"name": "f", "script": "echo hi\n"})
        server.stop()
        before = self.contents(server)
        server.wrapper = [*UNSHARED, "mount --bind \"$0\" \"$0\" && mount -o remount,ro,bind \"$0\" && exec \"$@\"",
                          str(server.data)]
        self.assert_does_not_start(server, str(server.data), "Read-only file system")
        self.assertEqual(self.contents(server), before)
        server.wrapper = ()
        server.start()
        self.assertEqual(server.cli("run", "f").stdout, b"hi\n")

    def test_directory_that_the_user_may_not_write(self):
        user = pwd.getpwnam(harness.USER)
        server = self.make_server()
        server.data.mkdir(mode=0o555)
        os.chown(server.data, user.pw_uid, user.pw_gid)
        self.assert_does_not_start(server, str(server.data), "may not be read and written by its owner; chmod u+rwx it")

    def test_directories_that_functions_cannot_be_shown_or_kept_from(self):
        cases = (("show", "/proc/sys", "would cover /proc, which every container has of its own"),
                 ("show", "/usr/share", "is seen anyway, with /usr"),
                 ("show", "/srv/none", "there is no directory '/srv/none'"),
                 ("show", "srv", "is not a plain absolute path"),
                 ("hide", "/srv", "does not lie in what functions see"),
                 ("hide", "/usr/../etc", "is not a plain absolute path"))
        for number, (option, path, expected) in enumerate(cases):
            with self.subTest(option=option, path=path):
                server = self.make_server({f"--host-image-{option}": path}, str(number))
                self.assert_does_not_start(server, f"host_image_{option}", expected)
                self.assertFalse(server.data.exists())

    def contents(self, server):
        """Everything in its folders, with sizes and times."""
        found = subprocess.run(["find", str(server.data), "-mindepth", "2", "-printf", "%P %s %T@\n"],
                               capture_output=True, text=True, check=True)
        return sorted(found.stdout.splitlines())


if __name__ == "__main__":
    harness.main()
