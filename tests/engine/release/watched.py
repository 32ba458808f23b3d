"""Running one unpacking under strace, and reading what the kernel was asked to do."""

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
_CHANGING = (
    "open,openat,openat2,creat,mkdir,mkdirat,rename,renameat,renameat2,symlink,symlinkat,link,linkat,unlink,"
    "unlinkat,rmdir,mknod,mknodat,truncate,ftruncate,chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,"
    "setxattr,lsetxattr,fsetxattr,removexattr,mount"
)
_FOLDER_AND_NAME = re.compile(r'(?:AT_FDCWD|\d+)<([^>]*)>, "((?:[^"\\]|\\.)*)"')
_ONE_NAME = re.compile(r'^(\w+)\("((?:[^"\\]|\\.)*)"')
_DESCRIPTOR = re.compile(r"^(f\w+)\(\d+<([^>]*)>")
_CALL = re.compile(r"^(?:\[pid\s+\d+\] |\d+ +)?(\w+\(.*)$")


def unpack_command(tarball: Path, staging: Path, *limits: str) -> list[str]:
    return [
        sys.executable,
        "-B",
        "-m",
        "tests.engine.release.unpack_one",
        str(tarball),
        str(staging),
        *limits,
    ]


def run(command: list[str], *, timeout: float = 120) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=timeout, check=False
    )


def traced(command: list[str], log: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run under strace with descriptors shown as paths; every changing call is in the log."""
    strace = ["strace", "-f", "-qq", "-y", "-s", "4096", "-o", str(log), "-e", f"trace={_CHANGING}", *options]
    return run(strace + command)


def changed_places(log: Path) -> list[tuple[str, str]]:
    """(call, absolute path) of every call that could change a name or a file, successful or not."""
    found: list[tuple[str, str]] = []
    for line in log.read_text("utf-8", "replace").splitlines():
        call = _CALL.match(line)
        if call is None or _only_reads(call[1]):
            continue
        name = call[1].partition("(")[0]
        if pairs := _FOLDER_AND_NAME.findall(call[1]):
            found += [(name, _joined(above, below)) for above, below in pairs]
        elif one := _ONE_NAME.match(call[1]):
            found.append((name, _joined(str(REPOSITORY), one[2])))
        elif descriptor := _DESCRIPTOR.match(call[1]):
            found.append((name, descriptor[2]))
        else:
            found.append((name, f"not understood: {line}"))
    return found


def _only_reads(call: str) -> bool:
    return call.startswith("open") and not re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC", call)


def _joined(above: str, below: str) -> str:
    return below if below.startswith("/") else f"{above}/{below}"
