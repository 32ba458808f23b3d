"""Where a journal may lie, whose it is, and who may write it: each refusal is its own clear error."""

import os
import shutil
import tempfile
from pathlib import Path

import msgspec
import pytest

from journal import codec, place
from journal.environment import Environment, Identity, sealed
from journal.errors import JournalDamaged, JournalForeign, JournalFull, JournalNewer, JournalPlace
from journal.events import UpgradeInterrupted
from journal.opening import create_or_open
from journal.reader import read
from journal.store import Store
from tests.journal import raw
from tests.journal.stories import Ticking, begin, success, told, write, written

NOBODY = 65534
EVENT = UpgradeInterrupted(why="test", runs_now="5.10.4")


def reopen(folder: Path, *, node: str | None = "emqx@127.0.0.1", root: str = "/opt/emqx") -> Store:
    return create_or_open(folder, clock=Ticking(), node=node, root=root)


def test_a_reader_of_no_journal_sees_an_empty_history_and_creates_nothing(
    tmp_path: Path, folder: Path
) -> None:
    """`status` before the first upgrade leaves no trace."""
    assert list(read(folder).entries()) == []
    assert read(folder).head() is None
    assert read(folder).identity() is None
    assert list(tmp_path.iterdir()) == []


def test_a_new_journal_is_closed_to_others(store: Store) -> None:
    """Folders 0700, files 0600, whatever the umask is."""
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in store.folder.rglob("*")}
    assert {modes[name] for name in ("data.mdb", "lock.mdb", "generation", "head")} == {"0o600"}
    assert modes["1"] == "0o700"
    assert store.folder.stat().st_mode & 0o777 == 0o700


def test_a_reopened_journal_goes_on_where_it_ended(tmp_path: Path, folder: Path) -> None:
    """Numbering and chain continue over processes."""
    written(tmp_path, told(success))
    before = read(folder).head()
    with reopen(folder) as store:
        assert store.head() == before
        appended = store.append(EVENT, upgrade_id=None)
    assert before is not None
    assert appended.seq == before.seq + 1
    assert len(list(read(folder).entries())) == appended.seq


@pytest.mark.parametrize(
    ("node", "root", "said"),
    [("other@127.0.0.1", "/opt/emqx", "node"), ("emqx@127.0.0.1", "/srv", "RootDir")],
)
def test_a_foreign_journal_is_refused(tmp_path: Path, folder: Path, node: str, root: str, said: str) -> None:
    """Another node's or another root's history is not continued."""
    written(tmp_path, told(success))
    with pytest.raises(JournalForeign, match=said):
        reopen(folder, node=node, root=root)


def test_a_node_that_is_not_known_yet_is_no_stranger(tmp_path: Path, folder: Path) -> None:
    """With the node down its name may be unknown; the root still is its own."""
    written(tmp_path, told(success))
    reopen(folder, node=None).close()


@pytest.mark.parametrize("link", ["journal", "relup"])
def test_a_symlinked_journal_is_refused(tmp_path: Path, folder: Path, link: str) -> None:
    """Neither the folder nor its parent may lead elsewhere."""
    target = tmp_path / "elsewhere"
    target.mkdir(mode=0o700)
    if link == "journal":
        folder.parent.mkdir()
        folder.symlink_to(target)
    else:
        folder.parent.symlink_to(target)
    with pytest.raises(JournalPlace, match="symbolic link"):
        reopen(folder)
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("name", ["data.mdb", "lock.mdb"])
def test_a_symlinked_file_of_the_environment_is_refused(tmp_path: Path, folder: Path, name: str) -> None:
    """LMDB would follow it."""
    written(tmp_path, told(success))
    file = raw.current(folder) / name
    file.rename(tmp_path / name)
    file.symlink_to(tmp_path / name)
    with pytest.raises(JournalPlace, match="symbolic link"):
        list(read(folder).entries())
    with pytest.raises(JournalPlace, match="symbolic link"):
        reopen(folder)


def test_a_folder_open_to_others_is_refused(tmp_path: Path, folder: Path) -> None:
    """A record that others can change is no evidence."""
    written(tmp_path, told(success))
    folder.chmod(0o750)
    with pytest.raises(JournalPlace, match="0750"):
        reopen(folder)


def test_a_folder_of_another_user_is_refused(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing as the wrong user would leave files that the right one cannot write."""
    written(tmp_path, told(success))
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(JournalPlace, match="12345"):
        reopen(folder)


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "9p"])
def test_a_network_filesystem_is_refused(tmp_path: Path, kind: str) -> None:
    """Read from the kernel's table of mounts; the deepest mount counts."""
    table = tmp_path / "mountinfo"
    table.write_text(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"40 22 0:50 / /srv/my\\040share rw,relatime shared:1 - {kind} server:/x rw\n"
        "41 40 0:51 / /srv/my\\040share/local rw - ext4 /dev/sdb1 rw\n"
    )
    with pytest.raises(JournalPlace, match="network"):
        place.refuse_network(Path("/srv/my share/emqx/relup/journal"), table)
    place.refuse_network(Path("/srv/my share/local/relup/journal"), table)
    place.refuse_network(Path("/srv/my shares/relup/journal"), table)


def test_opening_and_reading_ask_for_the_filesystem(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both doors refuse, before anything is made."""
    monkeypatch.setattr(place, "_filesystem", lambda path, table: "nfs")
    for opening in (lambda: reopen(folder), lambda: read(folder)):
        with pytest.raises(JournalPlace, match="network"):
            opening()
    assert list(tmp_path.iterdir()) == []


def test_a_newer_format_is_refused(tmp_path: Path, folder: Path) -> None:
    """Whatever else it says, a journal of another format is not guessed at."""
    written(tmp_path, told(success))
    environment = Environment(raw.current(folder), write=True)
    identity = Identity(journal_id="x", format=codec.FORMAT + 1, node=None, root="/opt/emqx")
    with environment.lmdb.begin(write=True) as transaction:
        environment.write_identity(identity, transaction)
    environment.close()
    with pytest.raises(JournalNewer, match="format 2"):
        reopen(folder)
    with pytest.raises(JournalNewer, match="format 2"):
        list(read(folder).entries())


def test_an_identity_that_was_changed_is_damage(tmp_path: Path, folder: Path) -> None:
    """It is outside the chain, so it has a checksum of its own."""
    written(tmp_path, told(success))
    environment = Environment(raw.current(folder), write=True)
    with environment.lmdb.begin(write=True, db=environment.meta) as transaction:
        stored = transaction.get(b"identity")
        assert stored is not None
        transaction.put(b"identity", stored.replace(b"/opt/emqx", b"/opt/emqy"))
    environment.close()
    with pytest.raises(JournalDamaged, match="checksum"):
        list(read(folder).entries())


def test_a_value_outside_the_chain_is_bound_to_its_name() -> None:
    """A snapshot cannot be passed off as an identity."""
    assert sealed(b"a", b"x") != sealed(b"b", b"x")


def test_a_fork_is_refused(store: Store) -> None:
    """LMDB must not be used across a fork: the child is told, before it touches anything."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            store.append(EVENT, upgrade_id=None)
        except JournalPlace:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    store.append(EVENT, upgrade_id=None)


def test_a_record_that_exists_is_never_overwritten(store: Store, folder: Path) -> None:
    """When another writer was here after all, appending is an error and not a loss."""
    stored_key, value = store.sealed_record(EVENT)
    environment = store.environment
    with environment.lmdb.begin(write=True, db=environment.entries) as transaction:
        transaction.put(stored_key, value)
    with pytest.raises(JournalDamaged, match="another writer"):
        store.append(EVENT, upgrade_id=None)


def test_a_journal_can_be_read_in_the_process_that_writes_it(store: Store) -> None:
    """The reader's child lets go of the writer's environment, and the writer goes on."""
    write(store, told(success))
    assert list(read(store.folder).entries()) == list(store.entries())
    store.append(EVENT, upgrade_id=None)
    assert list(read(store.folder).entries()) == list(store.entries())


def test_a_lost_pointer_is_damage_and_not_a_new_journal(tmp_path: Path, folder: Path) -> None:
    """A history is never begun anew over one that lies there."""
    written(tmp_path, told(success))
    (folder / "generation").unlink()
    raw.forget_note(folder)
    with pytest.raises(JournalDamaged, match="generation"):
        reopen(folder)


@pytest.mark.parametrize("text", ["", "one\n", "0\n", "-1\n", "7\n"])
def test_a_pointer_to_nothing_is_damage(tmp_path: Path, folder: Path, text: str) -> None:
    """Torn, empty, or naming a generation that is not there."""
    written(tmp_path, told(success))
    (folder / "generation").write_text(text)
    for opening in (lambda: reopen(folder), lambda: read(folder).head()):
        with pytest.raises(JournalDamaged):
            opening()


def test_what_a_crash_left_of_a_first_opening_is_removed(tmp_path: Path, folder: Path) -> None:
    """Before the pointer stands there is no journal; half of one is no hindrance."""
    written(tmp_path, [])
    (folder / "generation").unlink()
    raw.forget_note(folder)
    with reopen(folder) as store:
        assert store.head().seq == 1


def test_too_little_space_is_told_before_the_environment_is_opened(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LMDB on a full disk is a SIGBUS, not an error."""
    monkeypatch.setattr(place, "MIN_FREE_BYTES", 2**60)
    monkeypatch.setattr(place.require_space, "__defaults__", (2**60,))
    with pytest.raises(JournalFull, match="bytes free"):
        reopen(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_clock_that_steps_back_is_told_and_harmless(tmp_path: Path, folder: Path) -> None:
    """Order is the sequence, never the time."""
    moments = iter([3_000, 2_000, 1_000, -5, 9_000])
    with create_or_open(folder, clock=lambda: next(moments), node=None, root="/opt/emqx") as store:
        for _ in range(4):
            store.append(EVENT, upgrade_id=None)
        assert [(entry.seq, entry.at) for entry in store.entries()] == [
            (1, 3_000),
            (2, 2_000),
            (3, 1_000),
            (4, -5),
            (5, 9_000),
        ]


def told_to_nobody(folder: Path, *, mode: int) -> str:
    """What the user `nobody` is told who reads a copy of `folder` with that mode."""
    home = Path(tempfile.mkdtemp(prefix="relup-journal-"))
    try:
        home.chmod(0o755)
        copied = Path(shutil.copytree(folder, home / "journal"))
        for path in [copied, *copied.rglob("*")]:
            path.chmod(mode if path.is_dir() else mode & 0o666)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                list(read(copied).entries())
            except JournalPlace as error:
                os.write(writing, str(error).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as said:
            answer = said.read()
        os.waitpid(child, 0)
        return answer
    finally:
        shutil.rmtree(home)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_who_may_not_read_is_told_so(tmp_path: Path, folder: Path) -> None:
    """Not called damage, not a traceback."""
    written(tmp_path, told(success))
    assert f"user id {NOBODY} may not read" in told_to_nobody(folder, mode=0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_reader_who_cannot_write_the_lock_file_is_told_so(tmp_path: Path, folder: Path) -> None:
    """LMDB's table of readers must be written also by readers."""
    written(tmp_path, told(success))
    assert "lock.mdb" in told_to_nobody(folder, mode=0o755)


def test_the_identity_tells_whose_journal_it_is(store: Store) -> None:
    """What verify and export show of it."""
    identity = read(store.folder).identity()
    assert identity is not None
    assert msgspec.structs.asdict(identity) == {
        "journal_id": store.identity.journal_id,
        "format": 1,
        "node": "emqx@127.0.0.1",
        "root": "/opt/emqx",
        "anchor": None,
        "cleared_at": None,
    }


def test_a_second_open_in_one_process_is_refused(store: Store) -> None:
    """Two hands of one process in one LMDB file lose each other's locks."""
    with pytest.raises(JournalDamaged, match="already open"):
        begin(store.folder.parent.parent)
