%% What an update has at hand before it suspends anybody: the new beam and the one for the way back, prepared; the
%% slot of old code, free; the rows of all whom it concerns. Nothing of it changes what a process does.

-module(relup_agent_readiness).

-export([reached/1]).

%% {ready, Order} with the rows in it, or {ended, Outcome} where there is nothing to do or no way to do it.
reached(#{module := {Module, _, Md5}} = Order) ->
    case relup_agent_load:live(Module) of
        Md5 -> {ended, {done, #{skipped => 1, notes => [<<"its code was live already: no state was changed">>]}}};
        Live -> prepared(Order, Live)
    end.

prepared(#{module := Target, old := Old, direction := Direction} = Order, Live) ->
    case both(Target, Old, Direction, Live) of
        {ok, Ready, ReadyOld} ->
            relup_agent_section:write(ready, Ready),
            relup_agent_section:write(ready_old, ReadyOld),
            cleared(Order);
        {not_done, Name, Text} ->
            untouched(Name, Text)
    end.

both(Target, Old, Direction, Live) ->
    case relup_agent_load:ready(Target) of
        {ok, Ready} when Direction =:= up, Old =/= none -> with_old(Ready, Old, Live);
        {ok, Ready} -> {ok, Ready, none};
        NotDone -> NotDone
    end.

with_old(Ready, {_, _, Md5} = Old, Live) when Md5 =:= Live ->
    case relup_agent_load:ready(Old) of
        {ok, ReadyOld} -> {ok, Ready, ReadyOld};
        NotDone -> NotDone
    end;
with_old(_, {Module, File, _}, _) ->
    {not_done, module_md5_mismatch,
        relup_agent_load:text("~ts is not what runs as ~ts: there would be no way back", [File, Module])}.

cleared(#{module := {Module, _, _}} = Order) ->
    case relup_agent_slot:clear_old([Module], Order) of
        ok -> gathered(Order);
        {not_done, Name, Text} -> untouched(Name, Text)
    end.

gathered(#{module := {Module, _, _}, direction := Direction} = Order) ->
    case relup_agent_users:gather(Module, Direction) of
        {ok, Rows, Known} ->
            relup_agent_asking:watch(Rows),
            {ready, Order#{rows := Rows, known => Known}};
        {not_done, Name, Text} ->
            untouched(Name, Text)
    end.

untouched(Name, Text) ->
    {ended, relup_agent_outcome:untouched(Name, Text)}.
