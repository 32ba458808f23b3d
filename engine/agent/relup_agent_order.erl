%% What each order means, and how its outcome is told.
%%
%% run/2 answers {done, #{...}} or {not_done, #{name, detail, reverted, ...}}; `live` is added here, for every
%% module that the order names. An order that another hand has begun is begun again where that is harmless.

-module(relup_agent_order).

-export([run/2, give_up/1]).

run(Order, Nth) ->
    told(order(Order, Nth), modules_of(Order)).

told({done, Report}, _) ->
    {done, Report};
told({not_done, Report}, Modules) ->
    {not_done, Report#{live => [{M, relup_agent_load:live(M)} || M <- Modules]}}.

%% Nobody is left to go on with it. What there is to name among the ended.
give_up({change_code, Order}) ->
    try
        relup_agent_update:give_up(Order, tell(processes))
    catch
        _:_ -> []
    end;
give_up(_) ->
    [].

modules_of({load_modules, Files, Remove, _}) -> [M || {M, _, _} <- Files] ++ Remove;
modules_of({change_code, #{module := {Module, _, _}}}) -> [Module];
modules_of({restart_application, _, Files, Remove, _}) -> [M || {M, _, _} <- Files] ++ Remove;
modules_of(_) -> [].

order({set_code_path, Moves}, _) ->
    set_code_path(Moves);
order({load_modules, Files, Remove, Options}, _) ->
    load_modules(Files, Remove, Options);
order({clear_old_code, Modules, Options}, _) ->
    clear_old_code(Modules, Options);
order({change_code, Order}, Nth) ->
    relup_agent_update:run(Order, Nth, tell(processes));
order({restart_application, Application, Files, Remove, Options}, _) ->
    relup_agent_application:restart(Application, Files, Remove, Options, tell(modules));
order({call_function, _, _, _, _}, Nth) when Nth > 1 ->
    Text = <<"the agent's worker died during the call, which may have done its work or still be at it">>,
    not_done(call_failed, Text, false);
order({call_function, Module, Function, Arguments, TimeoutMs}, _) ->
    call_function(Module, Function, Arguments, TimeoutMs).

not_done(Name, Text, Reverted) ->
    {not_done, #{name => Name, detail => Text, reverted => Reverted}}.

%% At most twenty messages a second to the client; the last one always.
tell(Unit) ->
    Client = relup_agent_section:value(client),
    fun(Done, Total) ->
        Now = erlang:monotonic_time(millisecond),
        case get(told_at) of
            Before when is_integer(Before), Now - Before < 50, Done < Total -> ok;
            _ ->
                put(told_at, Now),
                %% A client that has gone, or does not read, is not waited for: processes may stand still.
                is_pid(Client) andalso erlang:send(Client, {relup_progress, Done, Total, Unit}, [noconnect, nosuspend])
        end,
        ok
    end.

%% ---------------------------------------------------------------- the code path

set_code_path(Moves) ->
    Before = code:get_path(),
    Kept = [Dir || Dir <- Before, is_folder(Dir) orelse lists:keymember(Dir, 1, Moves)],
    case [New || {_, New} <- Moves, New =/= none, not is_folder(New)] of
        [] ->
            true = code:set_path(lists:foldl(fun moved/2, Kept, Moves)),
            {done, #{notes => [
                relup_agent_load:text("~ts is no folder and left the code path", [Dir])
             || Dir <- Before -- Kept
            ]}};
        Missing ->
            not_done(code_path_refused, relup_agent_load:text("no folder: ~0tp", [Missing]), true)
    end.

%% One that does not exist would have the whole path refused. Archives (.ez) have folders inside.
is_folder(Dir) ->
    case erl_prim_loader:read_file_info(Dir) of
        {ok, _} -> true;
        error -> false
    end.

%% Moving twice is moving once.
moved({none, New}, Path) -> with(New, Path);
moved({Old, none}, Path) -> without(Old, Path);
moved({Old, New}, Path) ->
    case is_in(Old, Path) of
        true -> [in_place(Dir, Old, New) || Dir <- without(New, Path)];
        false -> with(New, Path)
    end.

with(New, Path) ->
    case is_in(New, Path) of
        true -> Path;
        false -> Path ++ [New]
    end.

is_in(Wanted, Path) ->
    lists:any(fun(Dir) -> same(Dir, Wanted) end, Path).

in_place(Dir, Old, New) ->
    case same(Dir, Old) of
        true -> New;
        false -> Dir
    end.

without(Gone, Path) ->
    [Dir || Dir <- Path, not same(Dir, Gone)].

same(A, B) ->
    filename:absname(A) =:= filename:absname(B).

%% ---------------------------------------------------------------- loading

load_modules(Files, Remove, Options) ->
    case relup_agent_load:load(Files, Options, tell(modules)) of
        {done, Counts} ->
            remove(Remove, Options, Counts);
        {not_done, Name, Text, Switched} ->
            not_done(Name, Text, Switched =:= [])
    end.

remove(Remove, Options, #{switched := Switched} = Counts) ->
    case relup_agent_slot:clear_old(Remove, Options) of
        ok ->
            Deleted = relup_agent_load:delete(Remove),
            relup_agent:purge_later(Switched ++ Deleted),
            Kept = maps:with([modules, skipped, batches, worst_stall_us], Counts),
            {done, Kept#{modules => maps:get(modules, Counts) + length(Deleted)}};
        {not_done, Name, Text} ->
            not_done(Name, Text, Switched =:= [])
    end.

clear_old_code(Modules, Options) ->
    case relup_agent_slot:clear_old(Modules, Options) of
        ok -> {done, #{}};
        {not_done, Name, Text} -> not_done(Name, Text, true)
    end.

%% ---------------------------------------------------------------- calling

call_function(Module, Function, Arguments, TimeoutMs) ->
    {Pid, Ref} = spawn_monitor(fun() -> exit(called(Module, Function, Arguments)) end),
    receive
        {'DOWN', Ref, process, Pid, {relup_returned, Text}} ->
            {done, #{returned => Text}};
        {'DOWN', Ref, process, Pid, {relup_raised, Text}} ->
            not_done(call_failed, Text, false);
        {'DOWN', Ref, process, Pid, Reason} ->
            not_done(call_failed, relup_agent_load:text("its process ended: ~0tP", [Reason, 30]), false)
    after TimeoutMs ->
        exit(Pid, kill),
        demonitor(Ref, [flush]),
        not_done(call_timed_out, relup_agent_load:text("no answer within ~w ms; it was ended", [TimeoutMs]), false)
    end.

called(Module, Function, Arguments) ->
    try
        {relup_returned, relup_agent_load:text("~0tP", [apply(Module, Function, Arguments), 60])}
    catch
        Class:Reason:Stack ->
            Frames = [{M, F, arity(A)} || {M, F, A, _} <- lists:sublist(Stack, 5)],
            {relup_raised, relup_agent_load:text("~0p ~0tP at ~0tp", [Class, Reason, 30, Frames])}
    end.

arity(Arguments) when is_list(Arguments) -> length(Arguments);
arity(Arity) -> Arity.
