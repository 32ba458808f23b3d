"""Hops and the catalog: both dialects, files that are no hop, the places where catalogs lie."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from engine.release.catalog import Catalog, catalog_folders, read_catalog
from engine.release.errors import (
    AmbiguousHop,
    CannotReadCatalog,
    InvalidInstruction,
    MalformedHop,
    MalformedTerm,
    NoHop,
    ScriptTerm,
    TermError,
)
from engine.release.hop import Apply, Callback, Hop, LoadModule, RestartApplication, Update, read_hop
from engine.release.routes import routes_of
from engine.release.terms import parse_term
from engine.term import Atom, Call, Term, text_of
from fixtures.build import Built

PLAIN = """\
%% a comment
#{{from_version => "{start}", target_version => "{end}",
  code_changes => [{changes}],
  post_upgrade_callbacks => [{callbacks}]}}.
"""


def written(
    folder: Path,
    start: str = "5.10.4",
    end: str = "5.10.5",
    *,
    changes: str = "",
    callbacks: str = "",
    name: str = "",
) -> Path:
    """A hop file in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / (name or f"{start}-to-{end}.relup")
    file.write_text(PLAIN.format(start=start, end=end, changes=changes, callbacks=callbacks))
    return file


def test_a_hop_of_the_newer_dialect_is_read(tmp_path: Path) -> None:
    """Every instruction, `node()` inside the data, callbacks with and without arguments, and their lines."""
    changes = """
    {load_module, emqx_a},
    {update, emqx_b, {advanced, [{x, 1}]}},
    {restart_application, emqx_c},
    {apply, emqx_bpapi, announce, [node(), emqx]}"""
    hop = read_hop(written(tmp_path, changes=changes, callbacks="first, {second, [a, 1]}"))
    assert hop.instructions == (
        LoadModule(module="emqx_a", line=4),
        Update(module="emqx_b", extra=[(Atom("x"), 1)], line=5),
        RestartApplication(application="emqx_c", line=6),
        Apply(
            module="emqx_bpapi",
            function="announce",
            arguments=(Call(None, Atom("node"), ()), Atom("emqx")),
            line=7,
        ),
    )
    assert hop.callbacks == (
        Callback(function="first", line=8),
        Callback(function="second", arguments=(Atom("a"), 1), line=8),
    )
    assert [callback.arity for callback in hop.callbacks] == [1, 3]
    assert hop.callback_modules == ("emqx_post_upgrade_5.10.5", "emqx_post_upgrade")


def test_a_hop_of_the_older_dialect_is_read(tmp_path: Path) -> None:
    """No callbacks at all; versions with suffixes; applications that are never restarted are passed over."""
    file = tmp_path / "a.relup"
    file.write_text(
        '#{target_version => "5.6.1+patch.A", from_version => "5.6.1-rc.1", more => 1,\n'
        " code_changes => [{restart_application, kernel}, {restart_application, emqx}]}."
    )
    hop = read_hop(file)
    assert (hop.from_version, hop.target_version, hop.callbacks) == ("5.6.1-rc.1", "5.6.1+patch.A", ())
    assert hop.restarted() == ("emqx",)


@pytest.mark.parametrize(
    ("changes", "error", "line"),
    [
        ("{load_module}", InvalidInstruction, 3),
        ("{add_module, emqx_a}", InvalidInstruction, 3),
        ("load_module", InvalidInstruction, 3),
        ("{load_module, emqx_a},\n {load_module, 5}", InvalidInstruction, 4),
        ("{update, emqx_a, soft}", InvalidInstruction, 3),
        ("{update, emqx_a, supervisor}", InvalidInstruction, 3),
        ("{update, emqx_a, {advanced}}", InvalidInstruction, 3),
        ("{update, emqx_a}", InvalidInstruction, 3),
        ("{apply, emqx_a, f, not_a_list}", InvalidInstruction, 3),
        ("{apply, emqx_a, f}", InvalidInstruction, 3),
        ("{apply, emqx_a, f, [os:cmd(\"id\")]}", ScriptTerm, 3),
        ("{apply, emqx_a, f, [node(self)]}", ScriptTerm, 3),
        ("{apply, emqx_a, f, [#{a => {[halt()]}}]}", ScriptTerm, 3),
        ("{update, emqx_a, {advanced, [node()]}}", ScriptTerm, 3),
        ("{load_module, emqx_a}\n{load_module, emqx_b}", MalformedTerm, 4),
        ("{load_module, Module}", ScriptTerm, 3),
    ],
)  # fmt: skip
def test_what_is_no_instruction_is_refused_with_its_line(
    tmp_path: Path, changes: str, error: type[TermError], line: int
) -> None:
    """An unknown instruction is never passed over, and a call is never run."""
    file = written(tmp_path, changes=changes)
    with pytest.raises(error) as refused:
        read_hop(file)
    assert refused.value.line == line
    assert refused.value.source == str(file)


@pytest.mark.parametrize(
    "text",
    [
        "[].",
        "#{}.",
        '#{from_version => "5.10.4", code_changes => []}.',
        '#{from_version => "5.10.4", target_version => "5.10.5"}.',
        '#{from_version => "../x", target_version => "5.10.5", code_changes => []}.',
        '#{from_version => 5, target_version => "5.10.5", code_changes => []}.',
        '#{from_version => "5.10.4", target_version => "5.10.5", code_changes => none}.',
        '#{from_version => "5.10.4", target_version => "5.10.5", code_changes => [],\n'
        " post_upgrade_callbacks => [{f, g, h}]}.",
    ],
)
def test_a_term_that_is_no_hop_is_refused(tmp_path: Path, text: str) -> None:
    """A well-formed term of another shape."""
    file = tmp_path / "a.relup"
    file.write_text(text)
    with pytest.raises(MalformedHop):
        read_hop(file)


def catalog_of(*folders: Path) -> Catalog:
    return read_catalog(
        [folder for given in folders for folder in catalog_folders(given / "none", given=given)]
    )


def test_one_malformed_file_does_not_hide_the_others(tmp_path: Path) -> None:
    """The good ones are listed, the bad one is named with its place; what is no .relup is let be."""
    written(tmp_path)
    (tmp_path / "bad.relup").write_text("#{from_version =>\n  Version}.")
    (tmp_path / "unreadable.relup").mkdir()
    (tmp_path / "README.md").write_text("not a hop")
    catalog = catalog_of(tmp_path)
    assert catalog.pairs == (("5.10.4", "5.10.5"),)
    assert [(fault.file.name, fault.error.name) for fault in catalog.faults] == [
        ("bad.relup", "script_term"),
        ("unreadable.relup", "cannot_read_catalog"),
    ]
    assert "bad.relup:2:3" in catalog.faults[0].error.happened


def test_two_different_files_for_one_hop_are_ambiguous(tmp_path: Path) -> None:
    """Nobody may choose for the operator; the other hops of the catalog stay usable."""
    written(tmp_path, changes="{load_module, a}")
    written(tmp_path, changes="{load_module, b}", name="other.relup")
    written(tmp_path, "5.10.5", "5.10.6")
    catalog = catalog_of(tmp_path)
    with pytest.raises(AmbiguousHop, match=r"other\.relup"):
        catalog.hop("5.10.4", "5.10.5")
    assert catalog.hop("5.10.5", "5.10.6").target_version == "5.10.6"


def test_the_same_file_in_two_folders_is_one_hop_with_the_modules_of_both(tmp_path: Path) -> None:
    """A copy is no ambiguity."""
    for name in ("one", "two"):
        written(tmp_path / name)
        (tmp_path / name / "ebin").mkdir()
    catalog = catalog_of(tmp_path)
    assert catalog.hop("5.10.4", "5.10.5").ebins == (tmp_path / "one" / "ebin", tmp_path / "two" / "ebin")


def test_a_missing_hop_is_refused_with_what_there_is(tmp_path: Path) -> None:
    """The refusal names a way of several hops, or the file that could not be read."""
    written(tmp_path)
    written(tmp_path, "5.10.5", "5.10.6")
    (tmp_path / "bad.relup").write_text("#{")
    catalog = catalog_of(tmp_path)
    with pytest.raises(NoHop) as several:
        catalog.hop("5.10.4", "5.10.6")
    assert "5.10.4 -> 5.10.5 -> 5.10.6" in several.value.next
    with pytest.raises(NoHop, match=r"bad\.relup"):
        catalog.hop("5.10.4", "5.10.9")


def test_ways_of_several_hops_are_found(tmp_path: Path) -> None:
    """The shortest one to each version, circles or not."""
    for start, end in [
        ("5.10.4", "5.10.5"),
        ("5.10.5", "5.10.6"),
        ("5.10.4", "5.10.6"),
        ("5.10.6", "5.10.5"),
    ]:
        written(tmp_path, start, end)
    catalog = catalog_of(tmp_path)
    assert catalog.routes("5.10.4") == (("5.10.4", "5.10.5"), ("5.10.4", "5.10.6"))
    assert catalog.routes("5.10.5", "5.10.6") == (("5.10.5", "5.10.6"),)
    assert catalog.routes("5.10.9") == ()


def test_every_way_of_more_than_one_hop_is_listed() -> None:
    """From each version of the catalog, single hops aside; circles end."""
    pairs = [("1", "2"), ("2", "3"), ("3", "4"), ("4", "3")]
    assert routes_of(pairs) == (("1", "2", "3"), ("1", "2", "3", "4"), ("2", "3", "4"))


def test_the_catalog_lies_where_the_reference_says(tmp_path: Path) -> None:
    """The folder given, the root's own with its subfolders, and installed official packages with their ebin."""
    given = tmp_path / "given"
    written(given)
    root = tmp_path / "root"
    written(root / "relup" / "catalog", "5.10.5", "5.10.6")
    written(root / "relup" / "catalog" / "emqx_relup-9", "5.10.6", "5.10.7")
    package = root / "plugins" / "emqx_relup-5.10.4" / "emqx_relup-5.10.4"
    written(package / "priv" / "relup", "5.10.7", "5.10.8")
    (package / "ebin").mkdir()
    catalog = read_catalog(catalog_folders(root, given=given))
    assert [start for start, _ in catalog.pairs] == ["5.10.4", "5.10.5", "5.10.6", "5.10.7"]
    assert catalog.hop("5.10.7", "5.10.8").ebins == (package / "ebin",)


def test_an_unpacked_package_can_be_given_as_the_catalog(tmp_path: Path) -> None:
    """Its hops lie in priv/relup, its beams in ebin."""
    written(tmp_path / "priv" / "relup")
    (tmp_path / "ebin").mkdir()
    assert catalog_of(tmp_path).hop("5.10.4", "5.10.5").ebins == (tmp_path / "ebin",)


def test_a_given_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    """The operator mistyped the path."""
    with pytest.raises(CannotReadCatalog):
        catalog_folders(tmp_path, given=tmp_path / "missing")
    assert catalog_folders(tmp_path) == ()


@pytest.mark.parametrize("catalog", ["catalog", "catalog-reversible"])
def test_the_hops_of_the_miniature_emqx_are_read(releases: Built, catalog: str) -> None:
    """Real files as people write them."""
    found = catalog_of(releases.root / catalog)
    assert found.faults == ()
    assert found.pairs == (("5.10.4", "5.10.5"), ("5.10.5", "5.10.6"))
    hop: Hop = found.hop("5.10.4", "5.10.5")
    assert len(hop.sha256) == 64
    assert hop.text == hop.file.read_text()


# ---------------------------------------------------------------- scripts that are trusted


SCRIPT = 'Target = "{end}",\n' + PLAIN.replace('"{end}"', "Target")


def scripted(
    folder: Path, start: str = "5.10.4", end: str = "5.10.5", *, name: str = "", says: str = ""
) -> Path:
    """A hop file that has to be evaluated."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / (name or f"{start}-to-{end}.relup")
    file.write_text(SCRIPT.format(start=start, end=end, changes="", callbacks=says))
    return file


@dataclass
class Interpreter:
    """Stands for the node: the value of SCRIPT. `asked` has the starts of the hops whose scripts ran."""

    raises: bool = False
    asked: list[str] = field(default_factory=list)

    def __call__(self, text: str) -> Term:
        bound, _, rest = text.partition("\n")
        plain = rest.replace("Target", bound.removeprefix("Target = ").removesuffix(","))
        value = parse_term(plain, calls=True, source="script").term
        assert isinstance(value, dict)
        self.asked.append(text_of(value[Atom("from_version")]))
        if self.raises:
            raise CannotReadCatalog("it raised", next="Mend it.")
        return value


def trusted(folder: Path, interpreter: Interpreter) -> Catalog:
    """The catalog in which 5.10.4 -> 5.10.5 is looked for."""
    return catalog_of(folder).trusting(interpreter, from_version="5.10.4", target_version="5.10.5")


def test_only_the_script_that_is_called_like_the_hop_is_evaluated(tmp_path: Path) -> None:
    """The others stay what they were: faults, untouched."""
    scripted(tmp_path, "5.10.3", "5.10.4")
    wanted = scripted(tmp_path)
    scripted(tmp_path, "5.10.5", "5.10.6")
    interpreter = Interpreter()
    found = trusted(tmp_path, interpreter)
    assert interpreter.asked == ["5.10.4"]
    assert found.hop("5.10.4", "5.10.5").file == wanted
    assert [type(fault.error) for fault in found.faults] == [ScriptTerm, ScriptTerm]


def test_without_one_of_that_name_scripts_are_evaluated_until_one_is_the_hop(tmp_path: Path) -> None:
    """Only contents count; those behind it are left alone."""
    scripted(tmp_path, "5.10.3", "5.10.4", name="a.relup")
    scripted(tmp_path, "5.10.4", "5.10.5", name="b.relup")
    scripted(tmp_path, "5.10.5", "5.10.6", name="c.relup")
    interpreter = Interpreter()
    assert trusted(tmp_path, interpreter).hop("5.10.4", "5.10.5").file.name == "b.relup"
    assert interpreter.asked == ["5.10.3", "5.10.4"]


def test_a_script_of_another_hop_under_that_name_does_not_end_the_search(tmp_path: Path) -> None:
    """It ran and turned out to be another one."""
    scripted(tmp_path, "5.10.5", "5.10.6", name="5.10.4-to-5.10.5.relup")
    scripted(tmp_path, "5.10.4", "5.10.5", name="other.relup")
    interpreter = Interpreter()
    assert trusted(tmp_path, interpreter).hop("5.10.4", "5.10.5").file.name == "other.relup"
    assert interpreter.asked == ["5.10.5", "5.10.4"]


def test_two_scripts_of_that_name_that_differ_are_seen(tmp_path: Path) -> None:
    """Neither of them wins by its folder."""
    scripted(tmp_path)
    scripted(tmp_path / "relup" / "catalog", says="another")
    interpreter = Interpreter()
    catalog = read_catalog(catalog_folders(tmp_path, given=tmp_path))
    found = catalog.trusting(interpreter, from_version="5.10.4", target_version="5.10.5")
    with pytest.raises(AmbiguousHop):
        found.hop("5.10.4", "5.10.5")


def test_a_script_of_that_name_that_fails_ends_the_search_and_is_told(tmp_path: Path) -> None:
    """Nothing else is run in the node in the hope of a better one."""
    scripted(tmp_path)
    scripted(tmp_path, "5.10.4", "5.10.5", name="other.relup")
    interpreter = Interpreter(raises=True)
    found = trusted(tmp_path, interpreter)
    assert interpreter.asked == ["5.10.4"]
    with pytest.raises(CannotReadCatalog, match="it raised"):
        found.hop("5.10.4", "5.10.5")
