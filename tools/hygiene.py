"""Refuse what belongs to one machine and not to the project: absolute paths, and addresses of package registries.

Both work where they were written and nowhere else. Read are the files that git tracks or would add.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

#: Folders of people and of the moment. An example of an absolute path can begin with /var, /srv or /etc instead.
PERSONAL = {"Users", "home", "root", "tmp"}
#: Folders that every machine has; a checkout below one of them adds nothing to the list above.
SYSTEM = {"bin", "dev", "etc", "lib", "mnt", "opt", "proc", "run", "sbin", "srv", "sys", "usr", "var"}
#: Registries and their mirrors are known by the first part of their names.
REGISTRY = re.compile(
    r"\b(?:files|ftp|index|mirrors?|npm|packages?|proxy|registry)\.[a-z0-9-]+\.[a-z]{2,}\b"
    r"|\b(?:crates|deb|npm|pypi|rubygems|test\.pypi)\.(?:[a-z0-9-]+\.)?(?:com|dev|io|net|org)\b"
)


def personal_path(checkout: Path) -> re.Pattern[str]:
    """What an absolute path of a person's machine looks like, the one that holds `checkout` included."""
    folders = sorted(PERSONAL | ({checkout.parts[1]} - SYSTEM))
    # After a letter or a dot it is the middle of a relative path or of a URL.
    return re.compile(rf"(?<![\w.\-/}}])/(?:{'|'.join(map(re.escape, folders))})/\w")


def problems(text: str, patterns: Iterable[tuple[str, re.Pattern[str]]]) -> Iterator[tuple[int, str]]:
    """The lines at fault, as (line number from 1, what is wrong)."""
    kinds = list(patterns)
    for number, line in enumerate(text.splitlines(), start=1):
        for what, pattern in kinds:
            found = pattern.search(line)
            if found:
                yield number, f"{what}: {found.group()}"


def files(checkout: Path) -> Iterator[Path]:
    """The text files that are, or would be, in the repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        path = checkout / name
        # A tracked file may have been removed, and a link leads to a file that is listed by itself.
        if path.is_file() and not path.is_symlink():
            yield path


def main(checkout: Path) -> int:
    patterns = [("a path of one machine", personal_path(checkout)), ("a package registry's address", REGISTRY)]
    faults = 0
    for path in files(checkout):
        text = path.read_bytes().decode("utf-8", errors="replace")
        for number, problem in problems(text, patterns):
            faults += 1
            print(f"{path.relative_to(checkout)}:{number}: {problem}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main(Path(__file__).resolve().parent.parent))
