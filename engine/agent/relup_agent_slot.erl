%% The place where the VM keeps a module's old code, emptied without murder: soft purges, nudges, patience.
%%
%% A module cannot be switched while it is taken. Only those that are told to be are killed, and they are named.

-module(relup_agent_slot).

-export([clear_old/2, others_left/3, killed/0, soft_purge/2]).

%% Frees the old slot of every module: soft purges, nudges those who linger, waits; kills only when told to.
%% `ok`, or {not_done, lingering_processes, Text}.
clear_old(Modules, Options) ->
    clear_old(Modules, Options, 0).

clear_old(Modules, Options, WaitedMs) ->
    Timeout = maps:get(blocker_timeout_ms, Options),
    case [M || M <- Modules, erlang:check_old_code(M), not code:soft_purge(M)] of
        [] ->
            ok;
        Held when WaitedMs < Timeout ->
            WaitedMs =:= 0 andalso nudge(Held),
            timer:sleep(50),
            clear_old(Held, Options, WaitedMs + 50);
        Held ->
            held(Held, relup_agent_walk:in_old_code(Held), Options)
    end.

%% The same patience, before those stop by themselves of whom IsOwn is true: `ok` when nobody else is left in the
%% old code of Modules, or whoever is may be killed later. Nobody is killed here.
others_left(Modules, IsOwn, Options) ->
    others_left(Modules, IsOwn, Options, 0).

others_left(Modules, IsOwn, #{blocker_timeout_ms := Timeout, kill_blockers := MayKill} = Options, WaitedMs) ->
    Taken = [M || M <- Modules, erlang:check_old_code(M), not code:soft_purge(M)],
    case [One || {Pid, _} = One <- relup_agent_walk:in_old_code(Taken), not IsOwn(Pid)] of
        [] ->
            ok;
        Others when WaitedMs < Timeout ->
            WaitedMs =:= 0 andalso nudge(Taken),
            timer:sleep(50),
            others_left(lists:usort([M || {_, M} <- Others]), IsOwn, Options, WaitedMs + 50);
        _ when MayKill ->
            ok;
        Others ->
            held(lists:usort([M || {_, M} <- Others]), Others, Options)
    end.

held(Modules, Found, Options) ->
    Lingering = lists:ukeysort(1, Found),
    case maps:get(kill_blockers, Options) of
        true ->
            written_down(Lingering),
            [exit(Pid, kill) || {Pid, _} <- Lingering],
            timer:sleep(10),
            [code:purge(M) || M <- Modules],
            ok;
        false ->
            Seen = relup_agent_walk:seen(lists:sublist(Lingering, 10)),
            {not_done, lingering_processes, lingering_text(length(Lingering), Modules, Seen)}
    end.

lingering_text(Count, Modules, Seen) ->
    Names = [[Pid, " ", Name, " in ", M] || {Pid, Name, M, _} <- Seen],
    relup_agent_load:text("~w processes still run old code of ~ts: ~ts", [
        Count,
        lists:join(", ", [atom_to_binary(M, utf8) || M <- lists:sublist(Modules, 10)]),
        lists:join("; ", Names)
    ]).

%% Before they are killed: no death of a hand and no failure after it makes them untold.
written_down(Lingering) ->
    Named = lists:zip([Pid || {Pid, _} <- Lingering], relup_agent_walk:seen(Lingering)),
    relup_agent_section:write(killed, lists:ukeysort(1, Named ++ relup_agent_section:value(killed, []))).

%% All whom the section has killed so far, as a report names the ended.
killed() ->
    [
        {Text, Name, <<"killed: it ran old code of ", Module/binary>>, Client}
     || {Pid, {Text, Name, Module, Client}} <- relup_agent_section:value(killed, []), not is_process_alive(Pid)
    ].

%% An idle special process re-enters its loop by a full call after any system message, even an unknown one.
%% The answer goes to nobody. Who is not known to take such a message gets none: it is waited for.
nudge(Modules) ->
    Nobody = spawn(fun() -> ok end),
    Pids = lists:usort([Pid || {Pid, _} <- relup_agent_walk:in_old_code(Modules)]),
    [Pid ! {system, {Nobody, relup_nudge}, relup_nudge} || Pid <- Pids, relup_agent_walk:takes_system_messages(Pid)].

%% In the background after a switch: one module after the other, resting as long as each took; soft only.
soft_purge(Modules, RestFactor) ->
    lists:foreach(
        fun(Module) ->
            Start = erlang:monotonic_time(millisecond),
            erlang:check_old_code(Module) andalso code:soft_purge(Module),
            Took = erlang:monotonic_time(millisecond) - Start,
            timer:sleep(Took * RestFactor)
        end,
        Modules
    ).
