"""What the checks share: the repository's files, what they include, a cache of verdicts that need not be repeated."""

import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMPILER = "clang++-19"
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')


def files(root, *suffixes):
    """Paths below `root`, relative to it, that git tracks or would track, sorted; of these suffixes, or all."""
    listing = subprocess.run(
        ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True, capture_output=True, text=True).stdout
    names = sorted(name for name in set(listing.split("\0")) if name and (not suffixes or name.endswith(suffixes)))
    return [name for name in names if (pathlib.Path(root) / name).is_file()]


def includes(path):
    """Yields (line number, quote or angle, name) of every #include of a file."""
    with open(path, encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            found = INCLUDE.match(line)
            if found:
                yield number, found[1], found[2]


def closure(name, known=None):
    """The file `name` and every repository file it includes, directly or not."""
    known = set() if known is None else known
    if name in known or not (ROOT / name).is_file():
        return known
    known.add(name)
    for _, quote, included in includes(ROOT / name):
        if quote == '"':
            closure(included, known)
    return known


def compile_commands():
    """A configured build directory and the compiler's arguments by source file; (None, {}) without any build."""
    found = list(ROOT.glob("build/*/compile_commands.json"))
    # What CI builds first, then the newest: sanitizers and half-built directories of yesterday come last.
    found.sort(key=lambda path: (path.parent.name == "release", path.parent.name == "dev", path.stat().st_mtime))
    if not found:
        return None, {}
    entries = json.loads(found[-1].read_text())
    return found[-1].parent, {os.path.relpath(entry["file"], ROOT): entry["command"].split() for entry in entries}


class Verdicts:
    """Remembers what passed, by a hash of everything the verdict depends on. Failures are not kept."""

    def __init__(self, kind, *depends_on):
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        self.directory = pathlib.Path(home) / "millrace" / kind
        self.directory.mkdir(parents=True, exist_ok=True)
        version = subprocess.run([COMPILER, "--version"], check=True, capture_output=True).stdout
        self.base = hashlib.sha256(version + "\0".join(depends_on).encode()).digest()

    def key(self, name):
        digest = hashlib.sha256(self.base)
        for part in sorted(closure(name)):
            digest.update(part.encode() + b"\0" + hashlib.sha256((ROOT / part).read_bytes()).digest())
        return digest.hexdigest()

    def passed(self, key):
        return (self.directory / key).exists()

    def remember(self, key):
        (self.directory / key).touch()


def report(tool, problems, checked):
    """Prints the problems and what was checked, and exits with the verdict."""
    for problem in problems:
        print(problem)
    print(f"{tool}: {checked}, {len(problems)} problem{'' if len(problems) == 1 else 's'}")
    sys.exit(1 if problems else 0)
