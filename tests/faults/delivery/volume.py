"""File systems in image files, which lose their power or run full.

They are mounted in a mount namespace of the test's own, so that nothing of them outlives it, however it ends.
"""
import contextlib
import ctypes
import fcntl
import os
import signal
import struct
import subprocess
import unittest

import harness

CLONE_NEWNS = 0x00020000
FS_IOC_SHUTDOWN = 0x8004587D  # of ext4 and XFS: not another byte is written, as if the power were gone
SHUTDOWN_WITHOUT_LOG_FLUSH = 2
# Nothing is written but what is synced: neither the journal by its timer nor data by their age.
MOUNT_OPTIONS = "loop,commit=3000,noatime"


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(map(str, command))}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def enter_own_mounts():
    """Skips where this host lets nobody mount an image."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        raise unittest.SkipTest(f"no mount namespace of our own: {os.strerror(ctypes.get_errno())}")
    run("mount", "--make-rprivate", "/")


def stands_still(pid):
    """None of its threads is in a system call any more."""
    try:
        stats = [harness.read_proc(pid, f"task/{tid}/stat") for tid in os.listdir(f"/proc/{pid}/task")]
    except FileNotFoundError:
        return True
    return all(stat[stat.rfind(b")") + 2:][:1] in (b"T", b"Z", b"X", b"") for stat in stats)


class Volume:
    """One file system and the folder it is mounted at."""

    def __init__(self, folder, name, size_bytes):
        self.image = folder / f"{name}.img"
        self.path = folder / name
        self.path.mkdir()
        with open(self.image, "wb") as file:
            file.truncate(size_bytes)
        run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image)
        self.mount()
        self.path.chmod(0o755)

    def mount(self):
        try:
            run("mount", "-o", MOUNT_OPTIONS, self.image, self.path)
        except OSError as error:
            raise unittest.SkipTest(f"no loop device: {error}") from None

    def unmount(self):
        # A killed process may hold it for a moment longer.
        harness.until(lambda: subprocess.run(["umount", self.path], capture_output=True, check=False).returncode == 0
                      or not os.path.ismount(self.path), "the volume is free")

    def cut_off(self, seen_by=()):
        """From now on not a byte reaches the disk, and the processes seen_by find that out.

        They stand still meanwhile: Linux lets a sync that runs during the shutdown succeed although nothing was written
        (6.18; a loop of pwrite and fdatasync is lied to in one shutdown of thirty).
        """
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for pid in seen_by:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            harness.until(lambda: all(stands_still(pid) for pid in seen_by), "the processes stand still")
            fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack("I", SHUTDOWN_WITHOUT_LOG_FLUSH))
        finally:
            os.close(fd)
            for pid in seen_by:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def go_on_with_what_reached_the_disk(self):
        """After cut_off(). Everybody who used the volume has been killed."""
        copy = self.image.with_suffix(".copy")
        run("cp", "--sparse=always", self.image, copy)
        self.unmount()
        os.replace(copy, self.image)
        self.mount()

    def free_bytes(self):
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize
