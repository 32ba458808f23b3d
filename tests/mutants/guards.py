"""The guards that `make mutants` removes, each with the tests that must miss it. Values only.

A guard is a piece of source that occurs exactly once; what replaces it leaves a program that still runs.
"""

import msgspec


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """One guard.

    Attributes:
        keeps: What it keeps true, as a sentence.
        file: Where it stands.
        was: Its source.
        becomes: What stands there without it.
        tests: What pytest is run with; at least one of them must fail.
    """

    keeps: str
    file: str
    was: str
    becomes: str
    tests: tuple[str, ...]


_MARKER = "tests/engine/release/test_marker.py"
_AGENT = "tests/engine/node/test_agent_guard.py"
_UPDATE = "tests/engine/node/test_vm_update.py"
_LOAD = "tests/engine/node/test_vm_load.py"
_ON_LOAD = "tests/engine/node/test_vm_on_load.py"
_READING = "tests/engine/node/test_vm_reading.py"
_NEWCOMERS = "tests/engine/node/test_vm_newcomers.py"
_BOOT = "tests/fixtures/test_boot.py"
_DEPLOY = "tests/engine/release/test_deploy.py"
_BOUNDARIES = "tests/boundaries/test_boundaries.py"
_PLANNED = "tests/engine/test_planned.py"
_REFUSALS = "tests/engine/test_refusals.py"
_A_REFUSAL = "test_a_refusal_leaves_the_node_and_every_byte_as_they_were"
_LOOP = "tests/faults/test_loop.py"
_TERMS = "tests/engine/node/test_agent_terms.py"
_FULL_JOURNAL = "tests/faults/test_full_journal.py"
_CONNECTION = "tests/engine/node/test_connection.py"
_HANDSHAKE = "tests/engine/node/test_handshake.py"
_TYPED = "tests/engine/test_refused_as_typed.py"

GUARDS = (
    # ------------------------------------------------------------ the marker and the tree
    Guard(
        keeps="the marker's content is on disk before it has its name",
        file="engine/release/marker.py",
        was='            raise OSError(0, "short write")\n        files.fsync(descriptor)\n',
        becomes='            raise OSError(0, "short write")\n',
        tests=(_MARKER,),
    ),
    Guard(
        keeps="the marker is replaced by a rename and never written in place",
        file="engine/release/marker.py",
        was="    temporary = marker.with_name(TEMPORARY_NAME)\n",
        becomes="    temporary = marker\n",
        tests=(_MARKER,),
    ),
    Guard(
        keeps="the marker's new name is on disk when the step is done",
        file="engine/release/marker.py",
        was="        files.rename(temporary, marker)\n        _sync_folder(marker.parent, files)\n",
        becomes="        files.rename(temporary, marker)\n",
        tests=(_MARKER,),
    ),
    Guard(
        keeps="a tree gets its name only when all of it is on disk",
        file="engine/release/deploy.py",
        was="        _sync_all(staging, manifest, progress=progress, low_priority=low_priority)\n",
        becomes="",
        tests=(_DEPLOY,),
    ),
    Guard(
        keeps="a tree that runs or boots next is not replaced",
        file="engine/release/deploy.py",
        was="    if os.path.lexists(tree) and not replaceable:\n",
        becomes="    if False:\n",
        tests=(_DEPLOY,),
    ),
    # ------------------------------------------------------------ the boot wrapper
    Guard(
        keeps="a marker that holds no version boots the base",
        file="fixtures/emqx/common/bin/emqx",
        was='    elif ! is_version "$version"; then\n',
        becomes="    elif false; then\n",
        tests=(_BOOT,),
    ),
    Guard(
        keeps="a base that was upgraded underneath boots itself",
        file="fixtures/emqx/common/bin/emqx",
        was='    elif ! is_newer "$version" "$REL_VSN"; then\n',
        becomes="    elif false; then\n",
        tests=(_BOOT,),
    ),
    # ------------------------------------------------------------ the agent in the VM
    Guard(
        keeps="a dead worker of the agent is followed by another",
        file="engine/agent/relup_agent_section.erl",
        was="            {_, Next} = spawn_monitor(fun hand/0),\n            guarding(Keeper, Next);\n",
        becomes="            guarding(Keeper, none);\n",
        tests=(_AGENT,),
    ),
    Guard(
        keeps="a dead guard of the agent is followed by another",
        file="engine/agent/relup_agent_section.erl",
        was="            keeping(Section, Hand, start_guard(value(hand, Hand)), Rows);\n",
        becomes="            keeping(Section, Hand, Guard, Rows);\n",
        tests=(_AGENT,),
    ),
    Guard(
        keeps="when a process does not stop in time, all are resumed and nothing is switched",
        file="engine/agent/relup_agent_update.erl",
        was="        Left -> back_off(Order, suspend_timeout, late_text(Left, Timeout, Rows))\n",
        becomes="        _ when Direction =:= up -> switch(Order)\n",
        tests=(_UPDATE,),
    ),
    Guard(
        keeps="one failing code_change takes the others back",
        file="engine/agent/relup_agent_update.erl",
        was="        [] -> end_done(Order);\n        _ -> revert(Order)\n",
        becomes="        _ -> end_done(Order)\n",
        tests=(_UPDATE,),
    ),
    Guard(
        keeps="who is born while the others are stopped is stopped too",
        file="engine/agent/relup_agent_update.erl",
        was="        [] when Direction =:= up -> close_and_switch(Until, Order);\n",
        becomes="        [] when Direction =:= up -> switch(Order);\n",
        tests=(_NEWCOMERS,),
    ),
    Guard(
        keeps="the death of a process that joined late is known",
        file="engine/agent/relup_agent_newcomers.erl",
        was="            relup_agent_asking:watch_these(Newcomers),\n",
        becomes="",
        tests=(_NEWCOMERS,),
    ),
    Guard(
        keeps="who died is told from its neighbours",
        file="engine/agent/relup_agent_rows.erl",
        was="        Less when Less < Pid -> number(Pid, Middle + 1, High, Rows);\n",
        becomes="        Less when Less < Pid -> [Middle];\n",
        tests=(_UPDATE,),
    ),
    Guard(
        keeps="who joined late is found when it dies",
        file="engine/agent/relup_agent_rows.erl",
        was="    [N || N <- lists:seq(Sorted + 1, count(Rows)), element(N, Pids) =:= Pid].\n",
        becomes="    [N || N <- lists:seq(Sorted + 2, count(Rows)), element(N, Pids) =:= none, Pid =/= none].\n",
        tests=(_NEWCOMERS,),
    ),
    Guard(
        keeps="who owes the answer to a change is not asked to change again",
        file="engine/agent/relup_agent_asking.erl",
        was="relup_agent_rows:owes_change(N, Rows) orelse is_map_key",
        becomes="is_map_key",
        tests=(_AGENT, _UPDATE, _NEWCOMERS),
    ),
    Guard(
        keeps="who failed to change is not asked again",
        file="engine/agent/relup_agent_asking.erl",
        was=" orelse is_map_key(N, Failed) end,\n",
        becomes=" orelse not is_map(Failed) end,\n",
        tests=(_AGENT, _UPDATE, _NEWCOMERS),
    ),
    Guard(
        keeps="the last answer of a process that has died does not bring it back",
        file="engine/agent/relup_agent_rows.erl",
        was="    Before =:= motion(gone) orelse\n        atomics:compare_exchange",
        becomes="    atomics:compare_exchange",
        tests=(_AGENT,),
    ),
    Guard(
        keeps="the reason of a death is not lost with the hand that heard of it",
        file="engine/agent/relup_agent_asking.erl",
        was="    IsKnown orelse LeftByItself orelse\n",
        becomes="    (IsKnown andalso false) orelse LeftByItself orelse\n",
        tests=(_AGENT,),
    ),
    Guard(
        keeps="a hand is heard of also when a keeper dies with its word unread",
        file="engine/agent/relup_agent_section.erl",
        was="    after 50 -> announce()\n",
        becomes="    after infinity -> announce()\n",
        tests=(_AGENT,),
    ),
    Guard(
        keeps="an update tells how far it is",
        file="engine/agent/relup_agent_asking.erl",
        was="            Tell(max(0, Next - 1 - portion())),\n",
        becomes="",
        tests=(_UPDATE,),
    ),
    Guard(
        keeps="whoever was killed for a step is told, however it ended",
        file="engine/agent/relup_agent_section.erl",
        was="    Own = relup_agent_slot:killed() ++ maps:get(ended, Report, []),\n",
        becomes="    Own = maps:get(ended, Report, []),\n",
        tests=(_LOAD,),
    ),
    Guard(
        keeps="the deadline of the suspends covers the asking",
        file="engine/agent/relup_agent_asking.erl",
        was="            after min(2, left_ms(Deadline)) -> ok\n",
        becomes="            after 2 -> ok\n",
        tests=(_UPDATE,),
    ),
    Guard(
        keeps="what an update has replaced is purged",
        file="engine/agent/relup_agent_update.erl",
        was="    relup_agent:purge_later([Module]),\n",
        becomes="",
        tests=(_UPDATE,),
    ),
    Guard(
        keeps="a client that leaves by itself is none that the hop has lost",
        file="engine/survival.py",
        was="        and not process.left_by_itself\n",
        becomes="",
        tests=(_LOOP,),
    ),
    Guard(
        keeps="a supervisor that does not answer is told by the plan",
        file="engine/live_facts.py",
        was="    _check_supervisors_answer(run, hop, users)\n",
        becomes="",
        tests=(_REFUSALS,),
    ),
    Guard(
        keeps="nobody is born between the last look and the switch",
        file="engine/agent/relup_agent_newcomers.erl",
        was="    hold(Rows),\n",
        becomes="",
        tests=(_NEWCOMERS,),
    ),
    Guard(
        keeps="a supervisor that does not answer refuses an update",
        file="engine/agent/relup_agent_users.erl",
        was="        {false, [_ | _], up} ->",
        becomes="        {false, [_ | _], sideways} ->",
        tests=(_NEWCOMERS,),
    ),
    Guard(
        keeps="an application controller that does not answer refuses an update both ways",
        file="engine/agent/relup_agent_users.erl",
        was="        {true, _, _} ->",
        becomes="        {sideways, _, _} ->",
        tests=("tests/engine/node/test_vm_controller.py",),
    ),
    Guard(
        keeps="an application that still stops is named instead of asked",
        file="engine/agent/relup_agent_application.erl",
        was="    case relup_agent_controller:answers(Timeout) of\n",
        becomes="    case ok of\n",
        tests=("tests/engine/test_application_that_does_not_stop.py",),
    ),
    Guard(
        keeps="a worker that raises while processes are suspended is followed by another",
        file="engine/agent/relup_agent_section.erl",
        was="    write(raised, Text),\n    exit(raised).\n",
        becomes="    failed(Text, []).\n",
        tests=(_AGENT,),
    ),
    Guard(
        keeps="an application is not stopped for what cannot be loaded anyway",
        file="engine/agent/relup_agent_application.erl",
        was="    case relup_agent_slot:others_left(Modules, IsOwn, Options) of\n",
        becomes="    case ok of\n",
        tests=("tests/engine/node/test_vm_steps.py",),
    ),
    Guard(
        keeps="a file whose md5 is not the planned one is not loaded",
        file="engine/agent/relup_agent_load.erl",
        was="                Other -> mismatch(Module, File, Md5, Other)\n",
        becomes="                _ -> read(Rest, [{Module, File, plain(Beam)} | Read])\n",
        tests=(_LOAD, _UPDATE),
    ),
    Guard(
        keeps="processes in old code are waited for and named, not killed",
        file="engine/agent/relup_agent_slot.erl",
        was="    case [M || M <- Modules, erlang:check_old_code(M), not code:soft_purge(M)] of\n",
        becomes="    case [M || M <- Modules, erlang:check_old_code(M), code:purge(M), false] of\n",
        tests=(_LOAD,),
    ),
    Guard(
        keeps="an idle process is nudged out of old code",
        file="engine/agent/relup_agent_slot.erl",
        was="            WaitedMs =:= 0 andalso nudge(Held),\n",
        becomes="",
        tests=(_LOAD,),
    ),
    Guard(
        keeps="who knows no system message is not nudged",
        file="engine/agent/relup_agent_slot.erl",
        was=" || Pid <- Pids, relup_agent_walk:takes_system_messages(Pid)].\n",
        becomes=" || Pid <- Pids].\n",
        tests=(_LOAD,),
    ),
    Guard(
        keeps="who hibernates is woken by a plan only where it knows the question",
        file="engine/agent/relup_agent_walk.erl",
        was="Bytes < 1000000 -> is_behaviour(written_call(Pid));\n",
        becomes="Bytes < 1000000 -> true;\n",
        tests=(_READING,),
    ),
    Guard(
        keeps="a supervisor that knows no system message is not asked to stand still",
        file="engine/agent/relup_agent_users.erl",
        was="            Still = [Pid || Pid <- Parents -- All, relup_agent_walk:takes_system_messages(Pid)],\n",
        becomes="            Still = Parents -- All,\n",
        tests=(_NEWCOMERS,),
    ),
    Guard(
        keeps="an on_load that does not return is ended",
        file="engine/agent/relup_agent_alone.erl",
        was=" andalso exit(Pid, kill).\n",
        becomes=" andalso is_pid(Pid).\n",
        tests=(_ON_LOAD,),
    ),
    Guard(
        keeps="the on_load of another module is not ended",
        file="engine/agent/relup_agent_alone.erl",
        was=", Running -- Others} of\n",
        becomes=", lists:sort(Running)} of\n",
        tests=(_ON_LOAD,),
    ),
    Guard(
        keeps="an on_load is known by its stack where others run",
        file="engine/agent/relup_agent_alone.erl",
        was="<- Running, runs(Pid, Module)]",
        becomes="<- Running, Module =:= none, runs(Pid, Module)]",
        tests=(_ON_LOAD,),
    ),
    Guard(
        keeps="nobody is ended in the place of an on_load that is over",
        file="engine/agent/relup_agent_alone.erl",
        was="        {[], false, [Pid]} when Known =:= none -> Pid;\n",
        becomes="        {[], false, [Pid]} -> Pid;\n",
        tests=(_ON_LOAD,),
    ),
    Guard(
        keeps="the time of an on_load is none of the longest switch",
        file="engine/agent/relup_agent_alone.erl",
        was="{ok, max(0, Us - OnLoadUs)}",
        becomes="{ok, Us}",
        tests=(_ON_LOAD,),
    ),
    Guard(
        keeps="an on_load that a dead worker has begun is waited for",
        file="engine/agent/relup_agent_alone.erl",
        was="            settled(Module, Deadline, Pid);\n",
        becomes="            Pid;\n",
        tests=(_ON_LOAD,),
    ),
    Guard(
        keeps="a plan says how long an on_load may take in the live VM",
        file="engine/release/coverage.py",
        was=" or has not returned after 30 s",
        becomes="",
        tests=("tests/engine/release/test_findings.py",),
    ),
    Guard(
        keeps="a repeated step is answered from memory and not run twice",
        file="engine/agent/relup_agent.erl",
        was="        #{Key := Report} ->\n",
        becomes="        #{Key := Report} when Request =:= outcome ->\n",
        tests=(_UPDATE, _AGENT),
    ),
    # ------------------------------------------------------------ the journal
    Guard(
        keeps="an acknowledged record is on disk",
        file="journal/environment.py",
        was="                sync=sync,\n",
        becomes="                sync=False,\n",
        tests=("tests/journal/test_durability.py",),
    ),
    Guard(
        keeps="a record that exists is never written over",
        file="journal/store.py",
        was="append=True, overwrite=False)",
        becomes="append=False, overwrite=True)",
        tests=("tests/journal/test_place.py",),
    ),
    Guard(
        keeps="a full disk is met with the ballast",
        file="journal/store.py",
        was="            given_up = self._ballast.release()\n",
        becomes="            given_up = False\n",
        tests=("tests/journal/test_full_disk.py",),
    ),
    # ------------------------------------------------------------ what a plan rests on
    *(
        Guard(
            keeps=f"a plan no longer holds when {what}",
            file="engine/survey.py",
            was=f'            "{part}": {value},\n',
            becomes=f'            "{part}": 0,\n',
            tests=(f"{_PLANNED}::{test}",),
        )
        for part, value, what, test in (
            ("package", "package", "a byte of the package changed", "test_a_byte_of_the_package_was_changed"),
            ("hop", "hop.sha256", "the hop file changed", "test_the_hop_file_was_changed"),
            ("node", "msgspec.to_builtins(facts)", "the node was restarted", "test_the_node_was_restarted"),
            ("live", "dict(loaded)", "a module was loaded by hand", "test_a_module_was_loaded_by_hand"),
            (
                "patches",
                "{path.name: fingerprint(path) for path in patch_files(run)}",
                "a patch came",
                "test_a_patch_was_put_into_data_patches",
            ),
        )
    ),
    Guard(
        keeps="funs that a purge does not see are looked for",
        file="engine/live_facts.py",
        was="held_funs=tuple(HeldFun(f.module, f.where, f.is_old, f.count) for f in held.found),",
        becomes="",
        tests=("tests/engine/test_held_funs.py",),
    ),
    Guard(
        keeps="a search for funs that fails refuses nothing",
        file="engine/live_facts.py",
        was="    except (RemoteException, CallTimedOut) as failed:\n",
        becomes="    except ZeroDivisionError as failed:\n",
        tests=("tests/engine/test_held_funs.py",),
    ),
    Guard(
        keeps="the search for funs writes out no large value",
        file="engine/agent/relup_held_funs.erl",
        was="erlang:external_size(Term) < 1000000",
        becomes="Term =:= Term",
        tests=("tests/engine/node/test_vm_reading.py",),
    ),
    Guard(
        keeps="a script that the hop does not need is not evaluated",
        file="engine/release/catalog.py",
        was=" or (is_settled and not is_named)",
        becomes="",
        tests=("tests/engine/release/test_catalog.py",),
    ),
    Guard(
        keeps="a failure of the agent that nobody explained is noticed",
        file="engine/failures.py",
        was='    "worker_lost": _failed(',
        becomes='    "worker_gone": _failed(',
        tests=("tests/cli/test_explain_knows_all.py",),
    ),
    Guard(
        keeps="the command that a plan prints can be pasted into a shell",
        file="cli/plan.py",
        was="{shlex.join(words)}",
        becomes="{' '.join(words)}",
        tests=("tests/cli/test_plan_pasted.py",),
    ),
    Guard(
        keeps="progress counts the modules that are live already",
        file="engine/agent/relup_agent_load.erl",
        was="Tell(Skipped + Done, Skipped + Total)",
        becomes="Tell(Done, Total)",
        tests=(_LOAD,),
    ),
    # ------------------------------------------------------------ the loop, its rollback and recovery
    Guard(
        keeps="a second relup is kept out",
        file="engine/lock.py",
        was="            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        becomes="            pass\n",
        tests=("tests/engine/test_lock.py",),
    ),
    Guard(
        keeps="a plan leaves not even an empty relup/ behind",
        file="engine/house.py",
        was="                folder.rmdir()\n",
        becomes="                pass\n",
        tests=(_REFUSALS,),
    ),
    Guard(
        keeps="a refusal leaves no staging behind",
        file="engine/upgrade.py",
        was="    except RelupError as refusal:\n        discard_staging(run)\n",
        becomes="    except RelupError as refusal:\n",
        tests=(_REFUSALS,),
    ),
    Guard(
        keeps="nothing is undone past the point of no return",
        file="engine/rollback.py",
        was="    if record is None or not run.state.passed_no_return:\n        return\n",
        becomes="    if record is None or True:\n        return\n",
        tests=(_BOUNDARIES,),
    ),
    Guard(
        keeps="a VM that was restarted is not taken for the one the upgrade worked on",
        file="engine/incarnation.py",
        was="    return (seen.os_pid, seen.os_start_time, seen.creation) == (\n",
        becomes="    return seen.name == now.name or (seen.os_pid, seen.os_start_time, seen.creation) == (\n",
        tests=("tests/engine/test_incarnation.py",),
    ),
    Guard(
        keeps="a step's start is on disk before the world is touched",
        file="engine/run.py",
        was="        self.record(StepStarted(step=number, name=name, attempt=attempt, direction=direction))\n"
        "        begun = self.house.clock.steady_ns()\n"
        "        try:\n"
        "            with _answered(step):\n"
        "                evidence = act(attempt)\n",
        becomes="        begun = self.house.clock.steady_ns()\n"
        "        try:\n"
        "            with _answered(step):\n"
        "                evidence = act(attempt)\n"
        "            self.record(StepStarted(step=number, name=name, attempt=attempt, direction=direction))\n",
        tests=(_LOOP,),
    ),
    Guard(
        keeps="the code that was loaded is read back",
        file="engine/readback.py",
        was="    wrong = differences(run.node, expected) + _stopped_applications(run) + _suspended(run.node)\n",
        becomes="    wrong = _stopped_applications(run) + _suspended(run.node)\n",
        tests=(_LOOP,),
    ),
    Guard(
        keeps="an application that was restarted is looked for",
        file="engine/readback.py",
        was="    wrong = differences(run.node, expected) + _stopped_applications(run) + _suspended(run.node)\n",
        becomes="    wrong = differences(run.node, expected) + _suspended(run.node)\n",
        tests=(_LOOP,),
    ),
    Guard(
        keeps="a process that is left suspended is found",
        file="engine/readback.py",
        was="    wrong = differences(run.node, expected) + _stopped_applications(run) + _suspended(run.node)\n",
        becomes="    wrong = differences(run.node, expected) + _stopped_applications(run)\n",
        tests=(_LOOP,),
    ),
    Guard(
        keeps="a node on which somebody is suspended already is not upgraded",
        file="engine/survey.py",
        was="    _check_nobody_suspended(run)\n",
        becomes="",
        tests=(f"{_REFUSALS}::{_A_REFUSAL}[somebody is suspended]",),
    ),
    Guard(
        keeps="a hop that ends connections is stopped",
        file="engine/upgrade.py",
        was="        check_survival(run)\n",
        becomes="",
        tests=(_LOOP,),
    ),
    Guard(
        keeps="a step that undid itself is not undone again",
        file="engine/state.py",
        was='        return self.left_before or self.outcomes.get("do") not in (None, Outcome.REVERTED)\n',
        becomes='        return self.left_before or self.outcomes.get("do") is not None\n',
        tests=("tests/engine/test_state.py",),
    ),
    Guard(
        keeps="the old release is read back after a rollback",
        file="engine/rollback.py",
        was="        _check_old_release(run)\n",
        becomes="        pass\n",
        tests=(_LOOP,),
    ),
    *(
        Guard(
            keeps=f"an old release is not called whole while {what}",
            file="engine/readback.py",
            was="    return differences(run.node, old) + _not_running(run.node, restarted) + _left_suspended(run)\n",
            becomes=f"    return differences(run.node, old) + {left}\n",
            tests=(_LOOP,),
        )
        for what, left in (
            ("an application of it does not run", "_left_suspended(run)"),
            ("a process stands still", "_not_running(run.node, restarted)"),
        )
    ),
    Guard(
        keeps="who was suspended before a rollback is no difference after it",
        file="engine/readback.py",
        was="[process for process in found if process.pid in run.state.suspended_before]",
        becomes="[]",
        tests=("tests/faults/test_suspended_by_others.py",),
    ),
    Guard(
        keeps="who stands still since an update was begun is not excused",
        file="engine/readback.py",
        was="    if run.state.may_have_suspended:\n",
        becomes="    if False:\n",
        tests=("tests/faults/test_suspended_by_others.py",),
    ),
    Guard(
        keeps="the room for the record counts the processes that may end",
        file="engine/reserve.py",
        was="    ended = ended_before + 2 * plan.may_end\n",
        becomes="    ended = 0\n",
        tests=("tests/faults/test_large_outcome.py",),
    ),
    Guard(
        keeps="an older tree takes its manifest with it",
        file="engine/release/deploy.py",
        was="        _move_manifest(tree, aside)\n",
        becomes="        pass\n",
        tests=(_DEPLOY,),
    ),
    Guard(
        keeps="a hop whose target boots is not called undone",
        file="engine/aftermath.py",
        was='    if was_made_permanent and direction == "undo":\n',
        becomes="    if False:\n",
        tests=("tests/faults/test_aftermath.py",),
    ),
    Guard(
        keeps="records are found that other modules hold of one with processes",
        file="engine/release/state.py",
        was="            yield from _held_by_others(case, module, change)\n",
        becomes="            pass\n",
        tests=("tests/engine/release/test_findings.py",),
    ),
    Guard(
        keeps="another VM's code ends no step",
        file="engine/settle.py",
        was="    require_same(run.state.node, run.node.observe())\n",
        becomes="",
        tests=(_LOOP,),
    ),
    Guard(
        keeps="another VM's code is no rollback",
        file="engine/rollback.py",
        was="    require_same(run.state.node, run.node.observe())\n",
        becomes="",
        tests=(_LOOP,),
    ),
    Guard(
        keeps="a restart that cannot be seen is not seen",
        file="engine/looks.py",
        was="    if same_code and before in (None, after):\n",
        becomes="    if False:\n",
        tests=(_LOOP,),
    ),
    Guard(
        keeps="a rollback takes away no tree that it did not deploy",
        file="engine/looks.py",
        was="    if isinstance(step, DeployTarget) and is_staged(run):\n",
        becomes="    if False:\n",
        tests=("tests/faults/test_tree_in_the_way.py",),
    ),
    Guard(
        keeps="a rollback takes the marker back",
        file="engine/hands.py",
        was="            return restore_marker(run)\n",
        becomes="            return Evidence()\n",
        tests=(_LOOP,),
    ),
    Guard(
        keeps="a rollback removes no tree that runs or boots next",
        file="engine/staging.py",
        was="    if is_in_use(run, tree):\n",
        becomes="    if False:\n",
        tests=(_LOOP,),
    ),
    Guard(
        keeps="clean offers no tree that runs or boots next",
        file="engine/cleaning.py",
        was="    needed = _needed(place, versions) | _needed_to_undo(place, versions, journal)\n",
        becomes="    needed = _needed_to_undo(place, versions, journal)\n",
        tests=(_LOOP,),
    ),
    Guard(
        keeps="nothing begins while an upgrade is open",
        file="engine/upgrade.py",
        was="    refuse_if_open(house.journal)\n",
        becomes="",
        tests=(_LOOP,),
    ),
    Guard(
        keeps="recovery asks how the step in hand ended",
        file="engine/recovery.py",
        was="        settle(run)\n        reconcile(run)\n",
        becomes="        reconcile(run)\n",
        tests=(_LOOP,),
    ),
    Guard(
        keeps="recovery holds the journal against the world",
        file="engine/recovery.py",
        was="        settle(run)\n        reconcile(run)\n",
        becomes="        settle(run)\n",
        tests=(_FULL_JOURNAL,),
    ),
    Guard(
        keeps="every process that the hop ended is counted",
        file="engine/node/agent.py",
        was='    return ended_of(told.get("ended", []))\n',
        becomes='    return ended_of(told.get("ended", [])[:100])\n',
        tests=(_TERMS,),
    ),
    Guard(
        keeps="a rollback kills nobody, whatever the hop was allowed to",
        file="engine/orders.py",
        was='    return options.kill_blockers and direction == "do"\n',
        becomes="    return options.kill_blockers\n",
        tests=(_LOOP,),
    ),
    # ------------------------------------------------------------ the node's door
    Guard(
        keeps="a tick of the node is answered",
        file="engine/node/wire.py",
        was="                self._on_frame(frame)\n            else:\n                self._tick()\n",
        becomes="                self._on_frame(frame)\n",
        tests=(f"{_CONNECTION}::test_we_stay_connected_while_idle_and_while_waiting",),
    ),
    Guard(
        keeps="the end of the node is the end of the connection",
        file="engine/node/wire.py",
        was="                if not size:\n                    raise EOFError\n",
        becomes="                if not size:\n                    return\n",
        tests=(f"{_CONNECTION}::test_kill_9_is_seen_at_once",),
    ),
    Guard(
        keeps="another node at the address is not spoken to",
        file="engine/node/handshake.py",
        was="        if name != self._node:\n",
        becomes="        if False:\n",
        tests=(_HANDSHAKE,),
    ),
    Guard(
        keeps="a node that does not know the cookie is not spoken to",
        file="engine/node/handshake.py",
        was="        if not compare_digest(frame[1:], self._digest(self._challenge)):\n",
        becomes="        if False:\n",
        tests=(_HANDSHAKE,),
    ),
    Guard(
        keeps="a stopped node is not waited for longer than was said",
        file="engine/node/transport.py",
        was="        connected.settimeout(remaining_s)\n",
        becomes="        connected.settimeout(60)\n",
        tests=(f"{_CONNECTION}::test_a_stopped_node_is_not_waited_for_when_connecting",),
    ),
    # ------------------------------------------------------------ what is refused
    Guard(
        keeps="a package is the one that its sidecar speaks of",
        file="engine/release/package.py",
        was="        if found == self.expected_sha256:\n            return\n        if self._verified:\n",
        becomes="        return\n        if self._verified:\n",
        tests=(f"{_REFUSALS}::{_A_REFUSAL}[sidecar of another file]",),
    ),
    Guard(
        keeps="what is no version is not used as one",
        file="engine/release/vars.py",
        was="    if text is None or not is_version(text):\n",
        becomes="    if text is None:\n",
        tests=(f"{_REFUSALS}::{_A_REFUSAL}[REL_VSN climbs]",),
    ),
    Guard(
        keeps="a target that boots next already is refused by its own name",
        file="engine/release/compatibility.py",
        was="    if target == live and target == pending:\n",
        becomes="    if False:\n",
        tests=(_TYPED,),
    ),
    Guard(
        keeps="the checks of a target against the node refuse it",
        file="engine/survey.py",
        was="    require(checks)\n",
        becomes="",
        tests=(f"{_REFUSALS}::{_A_REFUSAL}[other system]",),
    ),
    Guard(
        keeps="hot patches that shadow the release refuse an upgrade",
        file="engine/patches.py",
        was="    if patches and not run.options.force:\n",
        becomes="    if False:\n",
        tests=(f"{_REFUSALS}::{_A_REFUSAL}[patches present]",),
    ),
    Guard(
        keeps="the new release is started once before anything is touched",
        file="engine/survey.py",
        was="    rehearse(\n",
        becomes="    (lambda *_, **__: None)(\n",
        tests=(
            f"{_REFUSALS}::{_A_REFUSAL}[runtime does not start]",
            f"{_REFUSALS}::{_A_REFUSAL}[config is refused]",
        ),
    ),
    Guard(
        keeps="a RootDir that cannot be written is refused before the first byte",
        file="engine/house.py",
        was="        if (folder == place.root or folder.exists()) and not os.access(folder, os.W_OK | os.X_OK):\n",
        becomes="        if False:\n",
        tests=(_TYPED,),
    ),
    Guard(
        keeps="nothing is planned while another relup is at work",
        file="engine/house.py",
        was="    if at_work is not None:\n",
        becomes="    if False:\n",
        tests=(_TYPED,),
    ),
    Guard(
        keeps="who asked to stop while a plan is made gets none",
        file="engine/upgrade.py",
        was='        if asked_to_stop(run):\n            raise interrupted_while("making the plan")\n',
        becomes="",
        tests=("tests/engine/test_stopped_planning.py",),
    ),
    Guard(
        keeps="who does not stop at once on the way back is asked again",
        file="engine/rollback.py",
        was="            if failure.name != SUSPEND_TIMEOUT or left == 0:\n",
        becomes="            if failure:\n",
        tests=("tests/faults/test_late_on_the_way_back.py",),
    ),
    Guard(
        keeps="only a process that does not stop is a reason to undo a step again",
        file="engine/rollback.py",
        was="            if failure.name != SUSPEND_TIMEOUT or left == 0:\n",
        becomes="            if left == 0:\n",
        tests=("tests/faults/test_late_on_the_way_back.py",),
    ),
    Guard(
        keeps="connections are watched from the first live step on",
        file="engine/agent/relup_agent_section.erl",
        was="    Nth =:= 1 andalso relup_agent_witness:watch(),\n",
        becomes="",
        tests=("tests/engine/node/test_vm_witness.py",),
    ),
    Guard(
        keeps="who is stopped with a restarted application has not left by itself",
        file="engine/agent/relup_agent_witness.erl",
        was="stopped(Reason, relup_agent_section:value(order, none));\n",
        becomes="stopped(Reason, none);\n",
        tests=("tests/engine/node/test_vm_witness.py",),
    ),
    Guard(
        keeps="the new code serves for a while before the hop goes on",
        file="engine/survival.py",
        was="    if not connections or run.state.passed_no_return:\n",
        becomes="    if True:\n",
        tests=("tests/faults/test_survival.py",),
    ),
    Guard(
        keeps="what was lost too late to be undone is no success",
        file="engine/upgrade.py",
        was="    require_survival(run)\n",
        becomes="",
        tests=("tests/faults/test_survival.py",),
    ),
    Guard(
        keeps="an application whose stop has begun is not said to run",
        file="engine/agent/relup_agent_application.erl",
        was='not_done(failed_to_stop_app, relup_agent_load:text("~ts: ~0tP", [Application, Failure, 30]), false)',
        becomes='not_done(failed_to_stop_app, relup_agent_load:text("~ts: ~0tP", [Application, Failure, 30]), true)',
        tests=("tests/engine/test_application_that_does_not_stop.py",),
    ),
    Guard(
        keeps="a target that was booted is not pending any more",
        file="engine/survey.py",
        was="    pending = parse_version(marker) if marker and not has_booted_it else None\n",
        becomes="    pending = parse_version(marker) if marker else None\n",
        tests=("tests/engine/test_hops.py",),
    ),
    Guard(
        keeps="a module that a hop names twice is moved by one step",
        file="engine/plan.py",
        was="    for instruction in moving_instructions(resolved.hop):\n",
        becomes="    for instruction in resolved.hop.instructions:\n",
        tests=("tests/engine/test_plan.py",),
    ),
    Guard(
        keeps="an update moves its module, whether a load of it stands before or behind",
        file="engine/release/moves.py",
        was="sorted(_moves(hop), key=lambda each: isinstance(each, LoadModule))",
        becomes="_moves(hop)",
        tests=("tests/faults/test_named_twice.py",),
    ),
    Guard(
        keeps="a rollback begins only where nobody stays in the way of its steps",
        file="engine/finished.py",
        was="        require_free(run)\n",
        becomes="",
        tests=("tests/faults/test_way_back.py",),
    ),
    Guard(
        keeps="a hop that was given up is not held against the base that was booted since",
        file="engine/finished.py",
        was="    _require_not_given_up(state.node, target, place, node.observe())\n",
        becomes="",
        tests=("tests/faults/test_given_up.py",),
    ),
    Guard(
        keeps="a booted base that a marker for the target belies is told as a difference",
        file="engine/finished.py",
        was="    if was_restarted_elsewhere and read_marker(place.root).version != target:\n",
        becomes="    if was_restarted_elsewhere:\n",
        tests=("tests/faults/test_given_up.py",),
    ),
    Guard(
        keeps="clean leaves the trees of a hop whose VM still runs",
        file="engine/cleaning.py",
        was="(state.is_open or _lives(state, versions))",
        becomes="state.is_open",
        tests=("tests/faults/test_given_up.py",),
    ),
    Guard(
        keeps="past the point of no return no rollback is advised that is refused then",
        file="engine/rollback.py",
        was="    if state.passed_no_return:\n        return (\n",
        becomes="    if False:\n        return (\n",
        tests=("tests/faults/test_past_no_return.py::test_only_ways_on_that_work_are_named",),
    ),
    Guard(
        keeps="status says what to do where a restart would give the hop up",
        file="cli/standing.py",
        was="    if stands.next is not None:\n",
        becomes="    if False:\n",
        tests=("tests/engine/test_truth.py",),
    ),
    Guard(
        keeps="what the VM notes in a step is told as the step ends",
        file="engine/run.py",
        was="            self._tell_notes(event)\n",
        becomes="            pass\n",
        tests=("tests/cli/test_notes.py",),
    ),
    Guard(
        keeps="a step that failed advises what its explanation does",
        file="engine/hands.py",
        was="                next=advice_of(report.name),\n",
        becomes='                next="Look at the log.",\n',
        tests=("tests/engine/test_explain.py",),
    ),
    Guard(
        keeps="the configuration that is checked is that of the installation, wherever it lies",
        file="engine/release/rehearsal.py",
        was=', "BASE_RUNNER_ROOT_DIR": str(root), **folders.exported()}',
        becomes=', "BASE_RUNNER_ROOT_DIR": str(root)}',
        tests=("tests/cli/test_packaged_layout.py",),
    ),
    Guard(
        keeps="a node that is down is looked for in the etc of its installation",
        file="cli/context.py",
        was=", etc=folders.etc, data=folders.data)",
        becomes=")",
        tests=("tests/cli/test_packaged_layout.py",),
    ),
    Guard(
        keeps="TLS over IPv6 is TLS",
        file="engine/node/command_line.py",
        was='_TLS = {"inet_tls", "inet6_tls"}',
        becomes='_TLS = {"inet_tls"}',
        tests=("tests/engine/node/test_tls.py",),
    ),
)
