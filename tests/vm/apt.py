"""Kernel packages from Debian's archive, with an apt state of our own: this machine's is neither used nor changed.

apt checks the archive's signature and every package's digest, as always.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import VmError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# A kernel comes in one package, or, from 6.19 on, in several.
_PARTS = ("image", "binary", "base", "modules")
_VERSION = re.compile(r"linux-(?:image|modules)-(\d.*)")


@dataclass(frozen=True)
class Mirrors:
    """Where this machine gets Debian from; the official addresses where it does not say."""

    main: str = "http://deb.debian.org/debian"
    security: str = "http://deb.debian.org/debian-security"

    def of(self, suite: str) -> str:
        return self.security if suite.endswith("-security") else self.main


def addresses(text: str) -> list[str]:
    """Return the addresses in a file of apt sources, of the one-line or of the deb822 style (sources.list(5)).

    Examples
    --------
    >>> addresses("deb [signed-by=/k.gpg] http://ftp.debian.org/debian/ bookworm main")
    ['http://ftp.debian.org/debian']
    """
    found: list[str] = []
    for line in text.splitlines():
        if match := re.match(r"(?i)uris:\s*(.*)", line) or re.match(r"deb\s+(?:\[[^]]*\]\s*)?(\S+)", line):
            found += [word.rstrip("/") for word in match[1].split()]
    return found


def mirrors(etc: Path = Path("/etc/apt")) -> Mirrors:
    """Return the mirrors of this machine's own sources.

    Parameters
    ----------
    etc
        The directory of apt's settings.

    Examples
    --------
    >>> mirrors(Path("/nowhere")).of("bullseye-security")
    'http://deb.debian.org/debian-security'
    """
    files = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    known = [a for f in files if f.suffix in (".list", ".sources") and f.is_file() for a in addresses(f.read_text())]
    main = next((a for a in known if a.endswith("/debian")), Mirrors.main)
    return Mirrors(main, next((a for a in known if a.endswith("/debian-security")), Mirrors.security))


def newest(names: Iterable[str], pattern: str) -> str | None:
    """Return the newest kernel version among package names that a pattern matches whole.

    Examples
    --------
    >>> newest(["linux-image-6.12.9+deb12-amd64", "linux-image-6.12.10+deb12-amd64"], r"6\\.12\\..*")
    '6.12.10+deb12-amd64'
    """
    versions = [match[1] for name in names if (match := _VERSION.fullmatch(name))]
    return max((v for v in versions if re.fullmatch(pattern, v)), key=_order, default=None)


def _order(version: str) -> list[tuple[int, str]]:
    # Numbers compare as numbers, and what stands between them as text.
    return [(int(digits), text) for digits, text in re.findall(r"(\d+)(\D*)", version)]


class Apt:
    """The packages of one suite.

    Examples
    --------
    >>> apt = Apt(Path("build/vm/kernels/apt/bookworm"), "bookworm")
    >>> apt.update()
    """

    def __init__(self, state: Path, suite: str) -> None:
        self.state = state
        self.suite = suite

    def update(self) -> None:
        """Fetch the suite's list of packages.

        Raises
        ------
        VmError
            When the archive cannot be reached, or its signature is not right.
        """
        for folder in ("lists/partial", "cache/archives/partial", "none"):
            (self.state / folder).mkdir(parents=True, exist_ok=True)
        (self.state / "status").touch()
        source = f"deb [arch=amd64 signed-by={KEYRING}] {mirrors().of(self.suite)} {self.suite} main\n"
        (self.state / "sources.list").write_text(source)
        self._run("apt-get", "--quiet", "--error-on=any", "update")

    def names(self) -> list[str]:
        """Return the names of the suite's kernel packages."""
        return self._run("apt-cache", "pkgnames", "linux-").split()

    def download(self, version: str, folder: Path) -> list[Path]:
        """Fetch the packages of one kernel.

        Parameters
        ----------
        version
            As in the packages' names: ``6.12.9+deb12-amd64``.
        folder
            Where the files go.

        Returns
        -------
        list of Path
            The ``.deb`` files.

        Raises
        ------
        VmError
            When one cannot be fetched.
        """
        known = set(self.names())
        wanted = [name for part in _PARTS if (name := f"linux-{part}-{version}") in known]
        folder.mkdir(parents=True, exist_ok=True)
        self._run("apt-get", "--quiet", "download", *wanted, folder=folder)
        return sorted(folder.glob("*.deb"))

    def _run(self, *command: str, folder: Path | None = None) -> str:
        done = subprocess.run(
            [command[0], *self._options(), *command[1:]], cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise VmError(f"{' '.join(command)} failed for {self.suite}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def _options(self) -> Sequence[str]:
        state = self.state.resolve()
        settings = {
            "Dir::State::lists": state / "lists",
            "Dir::State::status": state / "status",
            "Dir::Cache": state / "cache",
            "Dir::Etc::sourcelist": state / "sources.list",
            "Dir::Etc::sourceparts": state / "none",
            "Dir::Etc::preferences": state / "none/preferences",
            "Dir::Etc::preferencesparts": state / "none",
            "Acquire::Languages": "none",
            "APT::Architecture": "amd64",
            "APT::Sandbox::User": "root",  # the user _apt could not write to our directories
        }
        return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
