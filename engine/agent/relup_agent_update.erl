%% Suspends a module's processes, switches the code, changes their states, resumes; and the way back.
%%
%% The truth about each process is its row {Pid, Motion, Shape, SinceUs, PausedUs, Name} in the section's
%% record: Motion running | suspending | suspended | resuming, Shape old | new | {asked, change | down};
%% SinceUs, while it is suspended, is when that began (monotonic), else none.
%% A row is written before the message that makes it true is sent, and by the keeper when it is answered, so
%% that any later hand goes on from there. A process is resumed only when its shape fits the code that runs.

-module(relup_agent_update).

-export([run/3, record/3, ask_again/0]).

%% ---------------------------------------------------------------- the order

%% Order: #{module, old, direction, vsn, extra, suspend_timeout_ms, change_timeout_ms, ...}.
run(Order, Nth, Tell) ->
    put(tell, Tell),
    Stage = relup_agent_section:value(stage),
    Nth > 1 andalso watch_rows(),
    continue(Stage, Order).

%% The first hand starts at `starting`; another one finds the stage its predecessor died in.
continue(Stage, Order) when Stage =:= starting; Stage =:= waiting -> prepare(Order);
continue(suspending, _) ->
    back_off(worker_lost, <<"the agent's worker died while processes were being suspended">>);
continue(switching, #{direction := up} = Order) ->
    case is_switched(Order) of
        true -> change(Order);
        false -> back_off(worker_lost, <<"the agent's worker died before the code was switched">>)
    end;
continue(changing, Order) -> change(Order);
continue(reverting, Order) -> revert(Order);
continue(unswitching, #{old := {Module, _, Md5}} = Order) ->
    case relup_agent_load:live(Module) of
        Md5 -> end_resumed();
        _ -> revert(Order)
    end;
continue(forward, Order) -> forward(Order);
continue(downing, Order) -> take_down(Order);
continue(switching, #{direction := down} = Order) ->
    case is_switched(Order) of
        true -> end_resumed();
        false -> take_down(Order)
    end;
continue(resuming, _) -> end_resumed().

is_switched(#{module := {Module, _, Md5}}) ->
    relup_agent_load:live(Module) =:= Md5.

%% ---------------------------------------------------------------- before anything is suspended

prepare(#{module := {Module, _, Md5}} = Order) ->
    stage(waiting),
    case relup_agent_load:live(Module) of
        Md5 -> {done, #{skipped => 1, notes => [<<"its code was live already: no state was changed">>]}};
        Live -> prepare(Order, Live)
    end.

prepare(#{module := Target, old := Old, direction := Direction} = Order, Live) ->
    case ready_both(Target, Old, Direction, Live) of
        {ok, Ready, ReadyOld} ->
            relup_agent_section:write(ready, Ready),
            relup_agent_section:write(ready_old, ReadyOld),
            clear(Order);
        {not_done, Name, Text} ->
            untouched(Name, Text)
    end.

ready_both(Target, Old, Direction, Live) ->
    case relup_agent_load:ready(Target) of
        {ok, Ready} when Direction =:= up, Old =/= none -> ready_old(Ready, Old, Live);
        {ok, Ready} -> {ok, Ready, none};
        NotDone -> NotDone
    end.

ready_old(Ready, {_, _, Md5} = Old, Live) when Md5 =:= Live ->
    case relup_agent_load:ready(Old) of
        {ok, ReadyOld} -> {ok, Ready, ReadyOld};
        NotDone -> NotDone
    end;
ready_old(_, {Module, File, _}, _) ->
    {not_done, module_md5_mismatch,
        relup_agent_load:text("~ts is not what runs as ~ts: there would be no way back", [File, Module])}.

clear(#{module := {Module, _, _}} = Order) ->
    case relup_agent_load:clear_old([Module], Order) of
        {ok, Killed} ->
            relup_agent_section:write(killed, Killed),
            gather(Order);
        {not_done, Name, Text} ->
            untouched(Name, Text)
    end.

gather(#{module := {Module, _, _}, direction := Direction} = Order) ->
    {Users, Silent} = relup_agent_walk:users([Module]),
    Pids = [Pid || {Pid, _} <- Users],
    relup_agent_section:write(notes, notes(relup_agent_walk:strays([Module], Pids), Silent)),
    relup_agent_section:write(total, length(Pids)),
    ets:insert(relup_agent_record, [{Pid, running, first_shape(Direction), none, 0, short_name(Pid, Module)} || Pid <- Pids]),
    watch_rows(),
    suspend(Order).

first_shape(up) -> old;
first_shape(down) -> new.

notes(Strays, Silent) ->
    [
        relup_agent_load:text("~w processes run it under no supervisor and were not updated: ~ts", [
            length(Strays), pids([Pid || {Pid, _} <- Strays])
        ])
     || Strays =/= []
    ] ++
        [
            relup_agent_load:text("supervisors that did not answer: ~ts", [pids(Silent)])
         || Silent =/= []
        ].

pids(Pids) ->
    lists:join(", ", [pid_to_list(Pid) || Pid <- lists:sublist(Pids, 10)]).

short_name(Pid, Module) ->
    case process_info(Pid, registered_name) of
        {registered_name, Name} -> Name;
        _ -> Module
    end.

%% ---------------------------------------------------------------- suspending

suspend(#{suspend_timeout_ms := Timeout, direction := Direction} = Order) ->
    stage(suspending),
    process_flag(priority, high),
    case settle(ask(suspend, suspend, pids_in(running)), Timeout) of
        Left when map_size(Left) =:= 0, Direction =:= up -> switch(Order);
        Left when map_size(Left) =:= 0 -> take_down(Order);
        Left -> back_off(suspend_timeout, silent_text(maps:keys(Left), Timeout))
    end.

silent_text(Pids, Timeout) ->
    Names = [[pid_to_list(Pid), " ", relup_agent_walk:name(Pid)] || Pid <- lists:sublist(Pids, 10)],
    relup_agent_load:text("~w processes did not stop within ~w ms: ~ts", [
        length(Pids), Timeout, lists:join("; ", Names)
    ]).

%% Nothing was switched: whoever was asked to stop is resumed, a late one by the message behind the first.
back_off(Name, Text) ->
    verdict({not_done, Name, Text, true}),
    end_resumed().

%% ---------------------------------------------------------------- up: switch, change, resume

switch(Order) ->
    stage(switching),
    case relup_agent_load:switch(relup_agent_section:value(ready)) of
        {ok, Us} ->
            relup_agent_section:write(stall_us, Us),
            change(Order);
        {error, Text} ->
            back_off(load_failed, Text)
    end.

%% Each process is resumed by the keeper as soon as it has changed; nobody waits for another.
change(#{vsn := Vsn, change_timeout_ms := Timeout} = Order) ->
    stage(changing),
    pipelined(true),
    Asked = ask(change, change_code(Order, Vsn), pids_in(suspended, old) -- failed()),
    end_hung(settle(maps:merge(Asked, owed()), Timeout)),
    case failed() ++ hung() of
        [] ->
            verdict(done),
            end_resumed();
        _ ->
            revert(Order)
    end.

change_code(#{module := {Module, _, _}, extra := Extra}, Vsn) ->
    {change_code, Module, Vsn, Extra}.

%% A process that does not come back from its code_change can be resumed in neither code.
end_hung(Left) ->
    Hung = [Pid || {Pid, Question} <- maps:to_list(Left), Question =:= change orelse Question =:= down],
    ets:insert(relup_agent_record, [{{hung, Pid}, true} || Pid <- Hung]),
    [exit(Pid, kill) || Pid <- Hung],
    settle(Left, 5000).

%% ---------------------------------------------------------------- up: the way back

revert(#{old := none} = Order) ->
    forward(Order);
revert(#{vsn := Vsn, suspend_timeout_ms := SuspendTimeout, change_timeout_ms := Timeout} = Order) ->
    stage(reverting),
    pipelined(false),
    Failed = failed() ++ hung(),
    case settle(maps:merge(ask(suspend, suspend, pids_in(running, new)), owed()), SuspendTimeout) of
        Left when map_size(Left) =:= 0 ->
            Down = ask(down, change_code(Order, {down, Vsn}), pids_in(suspended, new)),
            end_hung(settle(maps:merge(Down, owed()), Timeout)),
            case (failed() ++ hung()) -- Failed of
                [] -> unswitch(Order);
                _ -> forward(Order)
            end;
        _ ->
            forward(Order)
    end.

unswitch(#{module := {Module, _, _}} = Order) ->
    stage(unswitching),
    Cleared = relup_agent_load:clear_old([Module], #{blocker_timeout_ms => 500, kill_blockers => false}),
    case Cleared =:= {ok, []} andalso relup_agent_load:switch(relup_agent_section:value(ready_old)) of
        {ok, _} -> back_off(code_change_failed, failure_text());
        _ -> forward(Order)
    end.

%% There is no way back for all: who can goes on in the new code, who cannot is ended and named.
forward(#{vsn := Vsn, change_timeout_ms := Timeout} = Order) ->
    stage(forward),
    pipelined(true),
    Stuck = [Pid || Pid <- failed(), shape(Pid) =:= old],
    [exit(Pid, kill) || Pid <- Stuck],
    Again = ask(change, change_code(Order, Vsn), pids_in(suspended, old) -- Stuck),
    end_hung(settle(maps:merge(Again, owed()), Timeout)),
    [exit(Pid, kill) || Pid <- failed(), shape(Pid) =:= old, not lists:member(Pid, Stuck)],
    verdict({not_done, code_change_failed, relup_agent_load:text(
        "~ts; the others could not be taken back, so they run the new code", [failure_text()]
    ), false}),
    end_resumed().

%% ---------------------------------------------------------------- down: change in the new code, then switch

take_down(#{vsn := Vsn, change_timeout_ms := Timeout} = Order) ->
    stage(downing),
    Asked = ask(down, change_code(Order, {down, Vsn}), pids_in(suspended, new) -- failed()),
    end_hung(settle(maps:merge(Asked, owed()), Timeout)),
    case failed() ++ hung() of
        [] -> switch_down(Order);
        _ -> up_again(Order, code_change_failed, failure_text())
    end.

switch_down(Order) ->
    stage(switching),
    case relup_agent_load:switch(relup_agent_section:value(ready)) of
        {ok, Us} ->
            relup_agent_section:write(stall_us, Us),
            verdict(done),
            end_resumed();
        {error, Text} ->
            up_again(Order, load_failed, Text)
    end.

%% The new code stays: whoever went down already goes up again; who cannot is ended.
up_again(#{vsn := Vsn, change_timeout_ms := Timeout} = Order, Name, Text) ->
    verdict({not_done, Name, Text, true}),
    Before = failed(),
    Asked = ask(change, change_code(Order, Vsn), pids_in(suspended, old)),
    end_hung(settle(Asked, Timeout)),
    [exit(Pid, kill) || Pid <- failed() -- Before],
    end_resumed().

%% ---------------------------------------------------------------- the end

verdict(Verdict) ->
    relup_agent_section:write(verdict, Verdict),
    stage(resuming).

end_resumed() ->
    pipelined(false),
    Stopped = pids_in(suspended) ++ pids_in(resuming),
    Late = pids_in(suspending),
    ask(resume, resume, Late),
    settle(ask(resume, resume, Stopped), 5000),
    relup_agent_section:value(hands) > 1 andalso resume_stopped(100),
    report(relup_agent_section:value(verdict)).

%% After the death of a hand its suspend may overtake our resume: the last look is at the processes themselves.
resume_stopped(0) ->
    ok;
resume_stopped(Tries) ->
    Answered = [Pid || {Pid, Motion, _, _, _, _} <- rows(), Motion =/= resuming],
    case [Pid || Pid <- Answered, relup_agent_walk:is_suspended(Pid)] of
        [] ->
            ok;
        Stopped ->
            settle(ask(resume, resume, Stopped), 100),
            resume_stopped(Tries - 1)
    end.

report(done) ->
    Paused = lists:reverse(lists:keysort(5, rows())),
    {done, #{
        modules => 1,
        batches => 1,
        worst_stall_us => relup_agent_section:value(stall_us, 0),
        processes => length(Paused),
        worst_suspend_us => lists:max([0 | [Us || {_, _, _, _, Us, _} <- lists:sublist(Paused, 1)]]),
        slowest => [
            {list_to_binary(pid_to_list(Pid)), relup_agent_walk:name(Pid), Us}
         || {Pid, _, _, _, Us, _} <- lists:sublist(Paused, 10)
        ],
        ended => ended(),
        notes => relup_agent_section:value(notes, [])
    }};
report({not_done, Name, Text, Reverted}) ->
    {not_done, #{
        name => Name,
        detail => Text,
        reverted => Reverted,
        ended => ended()
    }}.

untouched(Name, Text) ->
    {not_done, #{name => Name, detail => Text, reverted => true}}.

%% [{PidText, Name, Reason, ClientId}] of those who died on the way, the killed ones among them.
ended() ->
    Died = [Row || {{ended, _}, Row} <- ets:tab2list(relup_agent_record)],
    Clients = relup_agent_walk:clients(maps:from_list([{Pid, true} || {Pid, _, _} <- Died])),
    relup_agent_load:killed(relup_agent_section:value(killed, [])) ++
        [
            {list_to_binary(pid_to_list(Pid)), atom_to_binary(Name, utf8), Reason,
                maps:get(Pid, Clients, undefined)}
         || {Pid, Name, Reason} <- Died
        ].

failure_text() ->
    Failures = [{Pid, Why} || {{failed, Pid}, Why} <- ets:tab2list(relup_agent_record)],
    Hung = hung(),
    Shown =
        [io_lib:format("~ts: ~tP", [pid_to_list(Pid), Why, 30]) || {Pid, Why} <- lists:sublist(Failures, 3)] ++
            [io_lib:format("~ts: did not come back", [pid_to_list(Pid)]) || Pid <- lists:sublist(Hung, 3)],
    relup_agent_load:text("~w processes failed in code_change: ~ts", [
        length(Failures) + length(Hung), lists:join("; ", Shown)
    ]).

%% ---------------------------------------------------------------- asking and waiting

%% Writes what is asked, sends it to all, and gives what is owed: #{Pid => Question}.
ask(Question, Request, Pids) ->
    [
        begin
            asked(Question, Pid),
            Pid ! {system, relup_agent_section:tag(Question, Pid), Request}
        end
     || Pid <- Pids
    ],
    maps:from_list([{Pid, Question} || Pid <- Pids]).

asked(suspend, Pid) -> set(Pid, [{2, suspending}]);
asked(resume, Pid) -> set(Pid, [{2, resuming}]);
asked(Question, Pid) -> set(Pid, [{3, {asked, Question}}]).

%% What is still unanswered by the record, after another hand asked it.
owed() ->
    maps:from_list([
        {Pid, owed(Motion, Shape)}
     || {Pid, Motion, Shape, _, _, _} <- rows(), owed(Motion, Shape) =/= nothing
    ]).

owed(_, {asked, Question}) -> Question;
owed(suspending, _) -> suspend;
owed(resuming, _) -> resume;
owed(_, _) -> nothing.

%% Waits until nothing is owed or the time is over; gives what is left.
settle(Owed, TimeoutMs) ->
    settle(Owed, erlang:monotonic_time(millisecond) + TimeoutMs, map_size(Owed)).

settle(Owed, _, _) when map_size(Owed) =:= 0 ->
    Owed;
settle(Owed, Deadline, Total) ->
    receive
        {answer, Question, Pid, Reply} ->
            case Owed of
                #{Pid := Question} -> settle(next(Question, Pid, Reply, Owed, Total), Deadline, Total);
                _ -> settle(Owed, Deadline, Total)
            end;
        {'DOWN', _, process, Pid, Reason} ->
            gone(Pid, Reason),
            settle(maps:remove(Pid, Owed), Deadline, Total)
    after max(0, Deadline - erlang:monotonic_time(millisecond)) -> Owed
    end.

next(change, Pid, ok, Owed, _) ->
    case relup_agent_section:value(pipelined) of
        true -> Owed#{Pid := resume};
        false -> maps:remove(Pid, Owed)
    end;
next(_, Pid, _, Owed, Total) ->
    Left = maps:remove(Pid, Owed),
    (get(tell))(Total - map_size(Left), Total),
    Left.

gone(Pid, Reason) ->
    case ets:take(relup_agent_record, Pid) of
        [{Pid, running, _, none, _, _}] when Reason =:= noproc -> ok;
        [{Pid, _, _, _, _, Name}] ->
            Row = {Pid, Name, relup_agent_load:text("~tP", [Reason, 20])},
            ets:insert(relup_agent_record, {{ended, Pid}, Row});
        [] -> ok
    end.

%% ---------------------------------------------------------------- the record

%% The keeper's part: what an answer makes true. It resumes who has changed when resuming needs nobody else.
record(suspend, Pid, _) ->
    set(Pid, [{2, suspended}, {4, now_us()}]);
record(resume, Pid, _) ->
    paused(Pid, running);
record(probe, Pid, _) ->
    case shape(Pid) of
        {asked, _} -> exit(Pid, kill);
        _ -> ok
    end;
record(change, Pid, ok) ->
    case relup_agent_section:value(pipelined) of
        true ->
            set(Pid, [{2, resuming}, {3, new}]),
            Pid ! {system, relup_agent_section:tag(resume, Pid), resume};
        false ->
            set(Pid, [{3, new}])
    end;
record(down, Pid, ok) ->
    set(Pid, [{3, old}]);
record(Question, Pid, Failure) ->
    ets:insert(relup_agent_record, {{failed, Pid}, Failure}),
    set(Pid, [{3, unchanged(Question)}]).

unchanged(change) -> old;
unchanged(down) -> new.

paused(Pid, Motion) ->
    case ets:lookup(relup_agent_record, Pid) of
        [{Pid, _, _, Since, Paused, _}] when is_integer(Since) ->
            set(Pid, [{2, Motion}, {4, none}, {5, max(Paused, now_us() - Since)}]);
        _ ->
            set(Pid, [{2, Motion}])
    end.

%% For a new keeper. An answer sent to the dead one is lost, and behind it nobody can tell whether the state
%% was changed: whoever answers the probe and still owes the change is ended, for it fits neither code.
ask_again() ->
    [again(owed(Motion, Shape), Pid) || {Pid, Motion, Shape, _, _, _} <- rows()].

again(suspend, Pid) -> ask(suspend, suspend, [Pid]);
again(resume, Pid) -> ask(resume, resume, [Pid]);
again(nothing, _) -> ok;
again(_, Pid) -> Pid ! {system, relup_agent_section:tag(probe, Pid), relup_probe}.

rows() ->
    [Row || Row <- ets:tab2list(relup_agent_record), tuple_size(Row) =:= 6].

pids_in(Motion) ->
    [Pid || {Pid, M, _, _, _, _} <- rows(), M =:= Motion].

pids_in(Motion, Shape) ->
    [Pid || {Pid, M, S, _, _, _} <- rows(), M =:= Motion, S =:= Shape].

hung() ->
    [Pid || {{hung, Pid}, _} <- ets:tab2list(relup_agent_record)].

failed() ->
    [Pid || {{failed, Pid}, _} <- ets:tab2list(relup_agent_record)].

shape(Pid) ->
    case ets:lookup(relup_agent_record, Pid) of
        [Row] -> element(3, Row);
        [] -> gone
    end.

set(Pid, Changes) ->
    ets:update_element(relup_agent_record, Pid, Changes).

watch_rows() ->
    [monitor(process, Pid) || {Pid, _, _, _, _, _} <- rows()].

stage(Stage) ->
    relup_agent_section:write(stage, Stage).

pipelined(Flag) ->
    relup_agent_section:write(pipelined, Flag).

now_us() ->
    erlang:monotonic_time(microsecond).
