%% Whom an update concerns: the users of the module, those who start them, and what is said of those it cannot reach.
%%
%% A supervisor that does not answer may have users that nobody would update. On the way up it refuses the order.
%% On the way back they are found by what they run instead: a rollback that is refused leaves the node between
%% releases. An application controller that does not answer refuses both ways: without it no supervisor is found.

-module(relup_agent_users).

-export([gather/2, first_shape/1, missed/1]).

%% {ok, Rows, Known} with Known as relup_agent_newcomers:look/0 gives it, or {not_done, Name, Text}. Notes and
%% strays stand in the section's record.
gather(Module, Direction) ->
    Before = relup_agent_newcomers:look(),
    {Users, Parents, Silent} = relup_agent_walk:users([Module]),
    Pids = [Pid || {Pid, _} <- Users],
    Strays = [Pid || {Pid, _} <- relup_agent_walk:strays([Module], Pids), ordsets:is_element(Pid, Before)],
    case refused(Silent, Direction) of
        {not_done, _, _} = NotDone ->
            NotDone;
        none ->
            Orphans = [Pid || Pid <- Strays, is_child(relup_agent_walk:parent(Pid), Silent)],
            relup_agent_section:write(strays, Strays -- Orphans),
            relup_agent_section:write(notes, unreached(Strays -- Orphans) ++ orphaned(Orphans, Silent)),
            All = Pids ++ Orphans,
            Still = [Pid || Pid <- Parents -- All, relup_agent_walk:takes_system_messages(Pid)],
            {ok, relup_agent_rows:new(All, first_shape(Direction), Still), ordsets:union(Before, lists:sort(Pids))}
    end.

refused(Silent, Direction) ->
    case {lists:member(whereis(application_controller), Silent), Silent, Direction} of
        {true, _, _} -> relup_agent_controller:silent();
        {false, [_ | _], up} -> {not_done, supervisors_silent, silent(Silent)};
        _ -> none
    end.

first_shape(up) -> old;
first_shape(down) -> new.

is_child(Parent, Supervisors) when is_atom(Parent) -> lists:member(whereis(Parent), Supervisors);
is_child(Parent, Supervisors) -> lists:member(Parent, Supervisors).

%% ---------------------------------------------------------------- words

unreached([]) ->
    [];
unreached(Strays) ->
    [note(Strays, "processes run it under no supervisor")].

orphaned(_, []) ->
    [];
orphaned(Orphans, Silent) ->
    [
        relup_agent_load:text("~ts; ~w processes below them were found by what they run", [
            silent(Silent), length(Orphans)
        ])
    ].

missed([]) ->
    [];
missed(Newcomers) ->
    [note(Newcomers, "processes were started while its code was switched")].

note(Pids, What) ->
    Shown = lists:join(", ", [pid_to_list(Pid) || Pid <- lists:sublist(Pids, 10)]),
    relup_agent_load:text("~w ~ts and were not updated: ~ts", [length(Pids), What, Shown]).

silent(Supervisors) ->
    Shown = [[pid_to_list(Pid), " ", relup_agent_walk:name(Pid)] || Pid <- lists:sublist(Supervisors, 10)],
    relup_agent_load:text("~w supervisors did not answer: ~ts", [length(Supervisors), lists:join("; ", Shown)]).
