"""No name reaches an operator that `relup explain` does not know: they are read from the sources."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.engine.scene import FRONT_DOOR

HOUSE = FRONT_DOOR.parent
ROOMS = ("cli", "engine", "journal", "projections")
NAME = re.compile(r"[a-z][a-z0-9_]*")


# ---------------------------------------------------------------- Python: classes, and names given to one


def trees() -> Iterator[ast.Module]:
    for room in ROOMS:
        for source in sorted((HOUSE / room).rglob("*.py")):
            yield ast.parse(source.read_text("utf-8"))


def error_classes() -> dict[str, str | None]:
    """Every class of the rooms that descends from one of the two errors, and the name in its body."""
    classes = {
        node.name: node for tree in trees() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    }
    known = {"RelupError", "JournalError"}
    while True:
        found = {
            name
            for name, node in classes.items()
            if {b.id for b in node.bases if isinstance(b, ast.Name)} & known
        }
        if found <= known:
            return {name: name_in(classes[name]) for name in known}
        known |= found


def name_in(node: ast.ClassDef) -> str | None:
    for each in node.body:
        targets = each.targets if isinstance(each, ast.Assign) else [getattr(each, "target", None)]
        is_name = any(isinstance(target, ast.Name) and target.id == "name" for target in targets)
        if is_name and isinstance(value := getattr(each, "value", None), ast.Constant):
            return str(value.value)
    return None


def names_given(classes: set[str]) -> set[str]:
    """Every literal `name=` that an error is made with."""
    return {
        str(keyword.value.value)
        for tree in trees()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in classes
        for keyword in call.keywords
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant)
    }


# ---------------------------------------------------------------- Erlang: where a function takes a Name and a Text

HEAD = re.compile(r"^(\w+)\(([^()]*\bName, Text\b[^()]*)\)", re.MULTILINE)


def erlang() -> str:
    """Every source of the agent, without comments."""
    sources = sorted((HOUSE / "engine" / "agent").glob("*.erl"))
    return "\n".join(re.sub(r"(?m)^\s*%.*$", "", source.read_text("utf-8")) for source in sources)


def names_in_erlang(text: str) -> set[str]:
    """Atoms that stand where a failure has its name: in the report itself and in what makes one."""
    places = [r"\{not_done,\s*", r"\bname\s*=>\s*"]
    for function, parameters in set(HEAD.findall(text)):
        before = parameters.split("Name")[0].count(",")
        places.append(rf"\b{function}\(\s*" + r"[^(),]+,\s*" * before)
    return {name for place in places for name in re.findall(rf"{place}({NAME.pattern})", text)}


# ---------------------------------------------------------------- the tests


def explained() -> set[str]:
    """What the command itself lists, in a process of its own."""
    words = [sys.executable, str(FRONT_DOOR), "--json", "explain"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout)["codes"])


def test_every_name_that_can_be_printed_is_explained() -> None:
    """Of every class of every room, of every error made with a name, and of everything that fails in the VM."""
    classes = error_classes()
    of_classes = {name for name in classes.values() if name is not None}
    given, of_agent = names_given(set(classes)), names_in_erlang(erlang())
    assert {"wrong_user", "hop_has_errors", "journal_full", "wrong_cookie", "tls_refused"} <= of_classes
    assert {"connections_lost", "tree_in_use", "agent_still_running"} <= given
    assert of_agent >= {
        *("code_change_failed", "suspend_timeout", "lingering_processes", "worker_lost", "agent_failed"),
        *("restart_refused", "code_path_refused", "failed_to_stop_app", "failed_to_start_app"),
        *(
            "supervisors_silent",
            "load_failed",
            "module_md5_mismatch",
            "call_failed",
            "call_timed_out",
            "app_not_found",
        ),
    }
    assert (of_classes | given | of_agent) - explained() == set()


def test_a_new_failure_of_the_agent_is_seen() -> None:
    """In each of the forms that the agent's sources use, also behind a helper of its own."""
    text = """
    step(Order) -> not_done(first, <<"x">>, true);
    step(_) -> {not_done, second,
        text("~p", [x])}.
    work() -> finish({not_done, #{
        name => third, detail => <<>>}}).
    given_up(Order, Rest, Name, Text) -> {not_done, Name, Text}.
    not_done(Name, Text, Reverted) -> ok.
    other(Order) -> given_up(Order, [],
        fourth, Text).
    """
    plain = re.sub(r"(?m)^    ", "", text)
    assert names_in_erlang(plain) == {"first", "second", "third", "fourth"}


def test_the_sources_are_where_the_test_looks() -> None:
    """Else it would find nothing and be content."""
    assert all(any((HOUSE / room).rglob("*.py")) for room in ROOMS)
    assert len(list((HOUSE / "engine" / "agent").glob("*.erl"))) > 5
    assert Path(__file__).is_relative_to(HOUSE)
