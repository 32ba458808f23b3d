"""The set-up of a machine that has nothing but python3, make and git: what it installs, and what it says instead.

The script is the real one. The machine is a PATH of the test's own, with the real tools and a real Erlang where
it has one; apt-get, sudo and id are stand-ins that write down how they are called.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.test_house import HOUSE

ALWAYS_THERE = (
    *("bash", "cat", "cksum", "cp", "dirname", "env", "grep", "head", "mkdir", "mktemp", "readlink"),
    *("rm", "touch", "true"),
)
PACKAGES = {
    *("erlang-base", "erlang-dev", "erlang-asn1", "erlang-crypto", "erlang-public-key", "erlang-ssl"),
    *("erlang-runtime-tools", "erlang-syntax-tools", "strace", "openssl", "python3-venv"),
}
SET_UP = ("erl", "erlc", "strace", "openssl")
"""Commands of those packages; Erlang's applications and ensurepip come along."""

APT_GET = """\
echo "apt-get $*" >>"$CALLS"
case " $* " in
    *" update "*) touch "$MACHINE/has-lists" ;;
    *" install "*)
        [ -e "$MACHINE/has-lists" ] || { echo "E: Unable to locate package" >&2; exit 100; }
        [ -e "$MACHINE/delivers-nothing" ] || cp -P "$MACHINE"/packages/* "$MACHINE/bin/" ;;
esac
"""
PYTHON = """\
if [ "$1" = -c ]; then
    exec {python} -c "import sys; {first}; exec(sys.argv[1])" "$2"
fi
exec {python} "$@"
"""


@dataclass
class Machine:
    """A machine as a PATH."""

    folder: Path

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    def has(self, name: str, script: str, *, at: str = "bin") -> None:
        """A command that is a script."""
        command = self.folder / at / name
        command.unlink(missing_ok=True)
        command.write_text(f"#!{shutil.which('bash')}\n{script}")
        command.chmod(0o755)

    def has_python(self, first: str = "pass", *, at: str = "bin") -> None:
        """python3: this one, after a statement that makes it another."""
        real = Path(sys.executable).resolve()
        self.has("python3", PYTHON.format(python=real, first=first), at=at)

    def set_up(self, what: str = "machine", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script there."""
        environ = {"PATH": str(self.bin), "MACHINE": str(self.folder), "CALLS": str(self.folder / "calls")}
        return subprocess.run(
            [str(self.bin / "bash"), str(self.folder / "checkout" / "tools" / "set-up"), what],
            env={**environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        """How the stand-ins were called."""
        calls = self.folder / "calls"
        return calls.read_text().splitlines() if calls.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Debian without Erlang and python3-venv, for a user who is not root and has no sudo."""
    made = Machine(tmp_path)
    for folder in ("bin", "packages", "checkout/tools"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(HOUSE / "tools" / "set-up", tmp_path / "checkout" / "tools")
    shutil.copy(HOUSE / "pyproject.toml", tmp_path / "checkout")
    for name in ALWAYS_THERE:
        (made.bin / name).symlink_to(found(name))
    for name in SET_UP:
        (tmp_path / "packages" / name).symlink_to(found(name))
    made.has_python(at="packages")
    made.has_python("sys.modules['ensurepip'] = None")
    made.has("apt-get", APT_GET)
    made.has("id", "echo 1000\n")
    return made


def found(name: str) -> str:
    command = shutil.which(name)
    assert command, f"the tests themselves need {name}"
    return os.path.realpath(command) if name in ("erl", "erlc") else command


def packages_of(line: str) -> set[str]:
    return {word for word in line.split() if word in PACKAGES or word.startswith(("erlang-", "python3-"))}


# ---------------------------------------------------------------- who may not install is told what to install


def test_without_root_and_sudo_every_package_is_named(machine: Machine) -> None:
    """The line can be copied to whoever is root; nothing was tried."""
    done = machine.set_up()
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "neither root nor passwordless sudo" in line
    assert "Run as root: apt-get install " in line
    assert set(line.partition("apt-get install ")[2].split()) == PACKAGES
    assert machine.calls == []


def test_a_sudo_that_asks_for_a_password_is_not_waited_for(machine: Machine) -> None:
    """It is asked without a prompt, and its no is the end."""
    machine.has("sudo", 'echo "sudo $*" >>"$CALLS"; exit 1\n')
    done = machine.set_up()
    assert done.returncode == 1
    assert "neither root nor passwordless sudo" in done.stderr
    assert machine.calls == ["sudo -n true"]


def test_only_what_is_missing_is_named(machine: Machine) -> None:
    """Erlang and the tools are there, the packages of Python's environments are not."""
    for name in SET_UP:
        (machine.bin / name).symlink_to(found(name))
    done = machine.set_up()
    assert done.returncode == 1
    assert packages_of(done.stderr) == {"python3-venv"}


def test_without_apt_get_the_packages_are_named_all_the_same(machine: Machine) -> None:
    """Another distribution calls them otherwise, but knows what is meant."""
    (machine.bin / "apt-get").unlink()
    machine.has("id", "echo 0\n")
    done = machine.set_up()
    assert done.returncode == 1
    assert "there is no apt-get here" in done.stderr
    assert packages_of(done.stderr) | {"strace", "openssl"} == PACKAGES


# ---------------------------------------------------------------- who may, installs


@pytest.mark.parametrize("way", ["root", "sudo"])
def test_root_and_sudo_install_what_is_missing(machine: Machine, way: str) -> None:
    """The package lists are fetched when installing fails without them; afterwards nothing is missing."""
    if way == "root":
        machine.has("id", "echo 0\n")
    else:
        machine.has("sudo", '[ "$1" = -n ] && shift && exec "$@"\n')
    done = machine.set_up()
    assert done.returncode == 0, done.stderr
    first, update, second = machine.calls
    assert first == second
    assert "install -y" in first
    assert packages_of(first) == PACKAGES
    assert "update" in update
    again = machine.set_up()
    assert (again.returncode, again.stderr, len(machine.calls)) == (0, "", 3)


def test_an_apt_get_that_fails_is_quoted(machine: Machine) -> None:
    """Its own words and the packages, not a silence."""
    machine.has("id", "echo 0\n")
    machine.has("apt-get", 'echo "E: no such mirror" >&2; exit 100\n')
    done = machine.set_up()
    assert done.returncode == 1
    assert "E: no such mirror" in done.stderr
    assert "apt-get could not install: " in done.stderr


def test_what_apt_get_did_not_bring_is_said(machine: Machine) -> None:
    """A package that installs and does not hold what was missing is no success."""
    machine.has("id", "echo 0\n")
    (machine.folder / "delivers-nothing").touch()
    (machine.folder / "has-lists").touch()
    done = machine.set_up()
    assert done.returncode == 1
    assert "still missing after apt-get: " in done.stderr
    assert packages_of(done.stderr.splitlines()[-1]) == PACKAGES


# ---------------------------------------------------------------- Python itself


def test_a_python_older_than_3_11_is_told_before_anything_is_installed(machine: Machine) -> None:
    """And how to name another one."""
    machine.has("id", "echo 0\n")
    machine.has_python("sys.version_info = (3, 9, 2, 'final', 0)")
    done = machine.set_up()
    assert done.returncode == 1
    assert "python3 is older than 3.11" in done.stderr
    assert "make PYTHON=" in done.stderr
    assert machine.calls == []


def test_no_python_is_told(machine: Machine) -> None:
    """By the name that was looked for."""
    done = machine.set_up(PYTHON="python3.99")
    assert done.returncode == 1
    assert "python3.99 is missing: install python3, at least 3.11" in done.stderr


def test_a_machine_that_has_everything_is_left_alone() -> None:
    """Whoever runs these tests has it: nothing is said and nothing is done."""
    done = subprocess.run(
        [str(HOUSE / "tools" / "set-up"), "machine"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# ---------------------------------------------------------------- the virtual environment

VENV_PYTHON = """\
case "$*" in
    -V) cat "$(dirname "$0")/../version" ;;
    *) echo "python $*" >>"$CALLS" ;;
esac
"""
OUTSIDE_PYTHON = """\
case "$*" in
    -V) echo "$VERSION" ;;
    "-m venv --clear .venv")
        echo venv >>"$CALLS"
        mkdir -p .venv/bin
        echo "$VERSION" >.venv/version
        cp "$MACHINE/venv-python" .venv/bin/python
        echo "#!$(pwd -P)/.venv/bin/python" >.venv/bin/pip ;;
esac
"""


@pytest.fixture
def with_venv(machine: Machine) -> Machine:
    """A machine whose environments are stand-ins: how they are made is what is looked at."""
    machine.has("venv-python", VENV_PYTHON, at=".")
    machine.has("python3", OUTSIDE_PYTHON)
    assert machine.set_up("venv", VERSION="Python 3.11.2").returncode == 0
    assert times_made(machine) == 1
    return machine


def times_made(machine: Machine) -> int:
    return machine.calls.count("venv")


def test_an_environment_that_fits_is_not_touched_again(with_venv: Machine) -> None:
    """Every `make` comes by here."""
    before = with_venv.calls
    done = with_venv.set_up("venv", VERSION="Python 3.11.2")
    assert (done.returncode, done.stderr, with_venv.calls) == (0, "", before)


def test_new_requirements_are_installed_into_the_environment_that_is_there(with_venv: Machine) -> None:
    """It need not be made anew for them."""
    with (with_venv.folder / "checkout" / "pyproject.toml").open("a") as file:
        file.write("# another\n")
    before = len(with_venv.calls)
    assert with_venv.set_up("venv", VERSION="Python 3.11.2").returncode == 0
    assert times_made(with_venv) == 1
    assert any("install --group dev" in call for call in with_venv.calls[before:])


def test_an_environment_of_another_python_is_made_anew(with_venv: Machine) -> None:
    """`make PYTHON=python3.12` uses that one."""
    assert with_venv.set_up("venv", VERSION="Python 3.12.1").returncode == 0
    assert times_made(with_venv) == 2


def test_an_environment_that_was_moved_is_made_anew(with_venv: Machine) -> None:
    """Its commands name the folder where it was."""
    moved = with_venv.folder / "elsewhere"
    (with_venv.folder / "checkout").rename(moved)
    (with_venv.folder / "checkout").symlink_to(moved)
    assert with_venv.set_up("venv", VERSION="Python 3.11.2").returncode == 0
    assert times_made(with_venv) == 2


def test_an_environment_without_pip_is_made_anew(with_venv: Machine) -> None:
    """Somebody pressed Ctrl-C while it was made."""
    venv = with_venv.folder / "checkout" / ".venv"
    (venv / ".ready").unlink()
    (venv / "bin" / "pip").unlink()
    assert with_venv.set_up("venv", VERSION="Python 3.11.2").returncode == 0
    assert times_made(with_venv) == 2


def test_an_environment_whose_packages_could_not_be_fetched_is_gone_on_with(with_venv: Machine) -> None:
    """What was fetched already is not fetched again."""
    (with_venv.folder / "checkout" / ".venv" / ".ready").unlink()
    assert with_venv.set_up("venv", VERSION="Python 3.11.2").returncode == 0
    assert times_made(with_venv) == 1


# ---------------------------------------------------------------- who calls it


@pytest.mark.parametrize("target", ["demo", "test", "lint", "bench", "wheel", "demo-node"])
def test_every_target_sets_the_machine_up_and_then_the_environment(target: str) -> None:
    """Somebody who has cloned the repository types one word."""
    plan = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", target],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        check=True,
    )
    first, second, *rest = plan.stdout.splitlines()
    assert [first, second] == ["tools/set-up machine", "tools/set-up venv"]
    assert rest


CI_TARGETS = ["venv", "lint", "wheel", "demo", "test"]


@pytest.mark.parametrize("failing", [None, *CI_TARGETS])
def test_ci_does_everything_and_stops_at_the_first_failure(machine: Machine, failing: str | None) -> None:
    """Set-up, ruff and mypy, the wheel in a fresh environment, the demo, all tests: a red one is a red run."""
    script = f'echo "$2" >>"$CALLS"; [ "$2" != "{failing}" ]\n'
    machine.has("make", script)
    done = subprocess.run(
        [str(HOUSE / ".ci" / "run")],
        env={"PATH": f"{machine.bin}:{os.environ['PATH']}", "CALLS": str(machine.folder / "calls")},
        capture_output=True,
        text=True,
        check=False,
    )
    last = CI_TARGETS.index(failing) + 1 if failing else len(CI_TARGETS)
    assert machine.calls == CI_TARGETS[:last]
    assert (done.returncode == 0) == (failing is None)
