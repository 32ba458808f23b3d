"""What each finding means: the text behind `relup explain CODE`. A table, and nothing else."""

import msgspec


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """One code in three parts.

    Attributes:
        means: What it is and why it matters.
        seen: Of a finding: what the tool looked at, and what it cannot see.
        runs: Of an error: what the node runs when it is told.
        next: What to do.
    """

    means: str
    seen: str = ""
    runs: str = ""
    next: str


def _explained(means: str, seen: str, next: str) -> Explanation:  # noqa: A002 - the word users see
    return Explanation(means=means, seen=seen, next=next)


_MD5S = (
    "The module md5 of both releases, of every loaded module of the node, and the instructions of the hop."
)
_FORMS = (
    "The debug information of the old and the new beam of each module the hop switches. Values in tables,"
    " persistent terms and messages on their way are not seen."
)
_IMPORTS = "The import and export tables of the beams. A call with a computed module or function is not seen."
_HELD = (
    "The module's funs in ETS tables that are not private, persistent terms, process dictionaries and the states of"
    " registered services: 200 rows of a table, 5,000 nodes of a term, 2,000 processes, small ones only, and two"
    " seconds for all. The search is a sample and never complete: connections, messages and private tables are not"
    " looked at, and none found does not mean that there is none."
)
_APPS = "The .app files and priv folders of both releases."

FINDINGS: dict[str, Explanation] = {
    "module_not_in_hop": _explained(
        "A module differs between the releases, and the hop does not switch it. It runs old code beside new code"
        " until the next restart: the kind of mistake that shows weeks later.",
        _MD5S,
        "Add it to the hop: load_module, or update where its processes hold a state that changed.",
    ),
    "runtime_stays_old": _explained(
        "Modules of kernel, stdlib or compiler differ. The VM stands on them; no hop replaces them.",
        _MD5S,
        "Nothing before the next restart, which brings them.",
    ),
    "module_unchanged": _explained(
        "The hop names a module that is the same in both releases. It is skipped when it is live already.",
        _MD5S,
        "Nothing; or take the line out of the hop.",
    ),
    "new_module_not_loaded": _explained(
        "A module is new in the target and the hop does not load it. EMQX runs in embedded mode: a module that was"
        " not loaded is not looked for, so the first call of it fails with undef.",
        _MD5S + " " + _IMPORTS,
        "Add load_module for it before the modules that call it.",
    ),
    "removed_module_stays": _explained(
        "A module is gone in the target but stays loaded, because a hop cannot remove a single module.",
        _MD5S,
        "Restart its application in the hop, or live with it until the next restart.",
    ),
    "already_live": _explained(
        "The node runs the target's module already: somebody loaded it, or an earlier hop did.",
        _MD5S,
        "Nothing.",
    ),
    "live_code_differs": _explained(
        "The node runs code that is in neither release. The hop replaces it, and an undo cannot bring it back.",
        _MD5S,
        "Find out who loaded it and why, before the hop removes it.",
    ),
    "module_patched": _explained(
        "data/patches has a beam of this name. It stands first in the code path of every start, so after the"
        " restart the patch shadows the target's module.",
        "The names of the beams in data/patches.",
        "Remove the patch when the target has its fix.",
    ),
    "old_fun_held": _explained(
        "Funs lie somewhere that were made by a code of the module before the live one. A purge does not see them:"
        " once that code is gone their next call fails with badfun, perhaps long after the upgrade.",
        _HELD,
        "Have whoever keeps them make them anew, or accept that their next call fails. The plan goes on: this refuses"
        " with --strict only.",
    ),
    "fun_held": _explained(
        "Funs lie somewhere that were made by the live code of a module that the hop replaces. They work until that"
        " code is purged, soon after the hop, and fail with badfun at their next call then.",
        _HELD,
        "Have whoever keeps them make them anew after the hop (restart its application, or a callback), or keep 'fun"
        " module:function/arity' instead. The plan goes on: this refuses with --strict only.",
    ),
    "on_load_module": _explained(
        "The module runs a function of its own, in the live VM, while it is loaded. It cannot be prepared together"
        " with others, so it is switched alone. The old code runs until the function has returned, and everybody goes"
        " on; where the hop updates the module, its processes stand still meanwhile. The load fails when the function"
        " does. All such functions of a step have 30 s together; the one that runs then is ended.",
        "The instructions of the beam.",
        "Find out what its on_load function does to a node that serves clients; most load a library.",
    ),
    "application_version_changed": _explained(
        "An application has another version in the target. Its code becomes live, its version number only with a"
        " restart of the application or the node.",
        _APPS,
        "Nothing.",
    ),
    "application_env_changed": _explained(
        "The .app file sets other defaults. They are read when an application is loaded, never by loading modules.",
        _APPS,
        "Restart the application in the hop, or set the values in a callback.",
    ),
    "application_dependency_changed": _explained(
        "An application needs another one that it did not need before.",
        _APPS,
        "Let the hop start the missing application first.",
    ),
    "application_not_started": _explained(
        "The target has an application that the running release does not have, and the hop does not start it.",
        _APPS,
        "Add restart_application for it (which starts it), or restart the node.",
    ),
    "application_removed": _explained(
        "The target lacks an application that runs. It goes on running until the restart.",
        _APPS,
        "Nothing before the next restart.",
    ),
    "native_code_changed": _explained(
        "Shared libraries (NIFs, drivers) differ. The VM keeps those it has loaded; new Erlang code may meet an old"
        " library.",
        _APPS + " Libraries deeper than three folders are not looked at.",
        "Check that the new modules work with the old library, or restart the node.",
    ),
    "erts_changed": _explained(
        "The target brings another Erlang runtime. A running VM cannot exchange it.",
        "The versions in both emqx.rel files.",
        "Restart the node into the target when it suits you.",
    ),
    "record_changed": _explained(
        "A record, or the map of a state, has other fields in the target, and live processes hold values of the old"
        " shape. Without a code_change that migrates them they crash when the new code meets such a value, perhaps"
        " an hour after the upgrade reported success.",
        _FORMS + " A holder without the record in its own code is found through the functions it calls.",
        "Update the holder with a code_change that takes the old shape, or restart its application in the hop.",
    ),
    "record_held_by_others": _explained(
        "A record changed its fields in a module that has processes of its own, and live processes of other modules"
        " call functions of it that take such a record. The update of the module migrates its own processes; a record"
        " that another process keeps in its state stays as it was, and crashes that process when it is handed back.",
        _FORMS
        + " Holders are found through the functions they call; those that take a pid as well are passed over.",
        "Look at the states of those modules. Update them too with a code_change that migrates the record, or restart"
        " their application; accept the finding when they build the record only for the call.",
    ),
    "record_changed_at_rest": _explained(
        "A record changed its fields, and no live process was found that holds one. Old values may still lie in"
        " tables or persistent terms.",
        _FORMS,
        "Migrate stored values in a callback if there are any.",
    ),
    "code_change_missing": _explained(
        "The hop updates a module whose state changed its shape, but no clause of the target's code_change takes"
        " the old state with this version and this Extra, or the clause hands the state back as it is.",
        _FORMS + " A clause that cannot be judged counts as one that handles it.",
        "Add the clause; check that the Extra of the hop is what it expects.",
    ),
    "process_out_of_reach": _explained(
        "The hop updates a module, and processes run it that hang under no supervisor, or under one that does not"
        " answer. An update suspends and changes those that supervisors know; these keep their old state, and crash"
        " when the new code meets it.",
        "All processes of the node that were started in the module or whose outermost frame is in it, seen twice."
        " A process that runs it under another name, in a library's loop, is not seen.",
        "'relup plan' names them. End them, or change whoever starts them; a supervisor that did not answer is"
        " asked again by the next plan. --allow accepts that they may crash.",
    ),
    "restart_ends_clients": _explained(
        "The hop restarts an application to which connections of clients belong: they all end with it.",
        "To which application up to a thousand clients of the connection manager belong, by their group leader. It is"
        " not asked where --max-lost accepts all connections of the node.",
        "Replace the restart by loads and updates. Where it has to be, upgrade at a quiet time with --max-lost N, N"
        " the node's connections; with --allow alone the hop ends them and is then rolled back.",
    ),
    "down_clause_missing": _explained(
        'The code_change has no clause for {down, "<from version>"}. The update works, but cannot be undone.',
        _FORMS,
        "Add the clause, or accept that a failure behind this step leaves the node between releases.",
    ),
    "no_debug_info": _explained(
        "A beam has no debug information, so the shape of its state could not be compared.",
        "The chunk Dbgi of the old and the new beam.",
        "Compare the records of the module in the sources; build releases with debug_info.",
    ),
    "removed_function_called": _explained(
        "A function is gone in the target's version of a module, and a module that stays as it is calls it. The call"
        " fails with undef.",
        _IMPORTS,
        "Switch the caller in the same hop, or keep the function for one release.",
    ),
    "function_not_live": _explained(
        "Switched code calls a function that only the target's version of another module has, and the hop leaves"
        " that module old. The call fails with undef.",
        _IMPORTS,
        "Add the other module to the hop, before its caller.",
    ),
    "callback_missing": _explained(
        "The hop calls a function (a post-upgrade callback or an apply) that the code which is live by then does"
        " not export. It would fail behind the point of no return.",
        "The exports of the module in the release that is live when the hop calls it.",
        "Correct the name or the arguments in the hop, or load the module that has it first.",
    ),
    "message_changed": _explained(
        "One module sends a request that the target's version of another does not take any more, and the two are"
        " not switched in one step.",
        "Literal requests of gen_server:call and cast to a process named after its module. Requests that are"
        " computed, sent to a pid or sent as plain messages are not seen.",
        "Put both into neighbouring load_module lines, or keep the old clause for one release.",
    ),
    "hop_not_a_patch": _explained(
        "The hop does not lead to a newer patch of the same minor version.",
        "The two versions in the hop.",
        "Correct them.",
    ),
    "hop_is_empty": _explained(
        "The hop has no code changes at all.", "The hop file.", "Draft one with 'relup hop draft'."
    ),
    "hop_file_name": _explained(
        "The file is named otherwise than its contents say. Only the contents count.",
        "The hop file.",
        "Nothing.",
    ),
    "module_named_twice": _explained(
        "A module stands in two lines. relup moves it once: by its update where there is one, else by the first line."
        " EMQX's own tool walks both: where an update comes behind a load, processes meet the new code with the old"
        " state.",
        "The hop file.",
        "Keep one line: the update where its processes hold a state that changed.",
    ),
    "application_named_twice": _explained(
        "An application is restarted twice: its clients are dropped twice.", "The hop file.", "Keep one line."
    ),
    "never_restarted": _explained(
        "kernel, stdlib and compiler are never restarted; the line is passed over.",
        "The hop file.",
        "Remove the line.",
    ),
    "apply_before_code_changes": _explained(
        "An apply cannot be undone, and code changes follow it: a failure in one of them leaves the node between"
        " releases.",
        "The order of the hop's lines.",
        "Move it behind the code changes.",
    ),
}
"""By code, in the order of the analyses."""
