%% Finds processes: who runs a module under a supervisor, who runs it under none, who is in old code.
%%
%% Everything here only looks. The agent carries it compiled; the reading side of the tool has it
%% interpreted by erl_eval, so that a plan loads nothing. Therefore: local calls and funs only, no
%% `fun name/arity`, no records, nothing from a module that an embedded node has not loaded.

-module(relup_agent_walk).

-export([users/1, strays/2, parent/1, birth/1, in_old_code/1, suspended/0, is_suspended/1, seen/1, name/1, clients/1]).
-export([takes_system_messages/1]).

%% [{Pid, Module}] of every supervised process whose callback module is one of Modules, the supervisors right
%% above them, and the supervisors (and event managers, whose handlers are users) that did not answer.
users(Modules) ->
    Wanted = maps:from_list([{M, true} || M <- Modules]),
    {Apps, Unheard} = running(),
    {Found, Parents, Silent} = lists:foldl(
        fun(Top, Acc) -> tree(Top, Wanted, Acc) end,
        {[], [], Unheard},
        [Pid || App <- Apps, Pid <- [top(App)], is_pid(Pid)]
    ),
    {lists:usort(Found), lists:usort(Parents) -- [none], Silent}.

%% The application controller, which answers nobody while it stops an application, stands above all supervisors.
running() ->
    try application:which_applications() of
        Running -> {[App || {App, _, _} <- Running], []}
    catch
        exit:{timeout, _} -> {[], [whereis(application_controller)]}
    end.

top(App) ->
    case application_controller:get_master(App) of
        Master when is_pid(Master) ->
            case catch application_master:get_child(Master) of
                {Pid, _} -> Pid;
                _ -> none
            end;
        _ ->
            none
    end.

tree(Top, Wanted, Seen) ->
    case initial_call(Top) of
        {supervisor, Module, _} -> walk(Top, Wanted, noted(Top, [Module], none, Wanted, Seen));
        {Module, _, _} -> noted(Top, [Module], none, Wanted, Seen);
        none -> Seen
    end.

%% What answers with no list is no supervisor, whatever its specification says.
walk(Supervisor, Wanted, Seen) ->
    try gen_server:call(Supervisor, which_children, 5000) of
        Children when is_list(Children) ->
            lists:foldl(fun(Child, Acc) -> child(Child, Supervisor, Wanted, Acc) end, Seen, Children);
        _ ->
            Seen
    catch
        exit:{timeout, _} -> unheard(Supervisor, Seen);
        _:_ -> Seen
    end.

unheard(Pid, {Found, Parents, Silent}) ->
    {Found, Parents, [Pid | Silent]}.

child({_, Pid, supervisor, Modules}, Parent, Wanted, Seen) when is_pid(Pid) ->
    walk(Pid, Wanted, noted(Pid, supervisor_modules(Pid, Modules), Parent, Wanted, Seen));
child({_, Pid, _, dynamic}, Parent, Wanted, Seen) when is_pid(Pid) ->
    case dynamic_modules(Pid) of
        silent -> unheard(Pid, Seen);
        Modules -> noted(Pid, Modules, Parent, Wanted, Seen)
    end;
child({_, Pid, _, Modules}, Parent, Wanted, Seen) when is_pid(Pid), is_list(Modules) ->
    noted(Pid, Modules, Parent, Wanted, Seen);
child(_, _, _, Seen) ->
    Seen.

noted(_, [], _, _, Seen) ->
    Seen;
noted(Pid, [Module | Rest], Parent, Wanted, {Found, Parents, Silent} = Seen) ->
    case maps:is_key(Module, Wanted) of
        true -> noted(Pid, Rest, Parent, Wanted, {[{Pid, Module} | Found], [Parent | Parents], Silent});
        false -> noted(Pid, Rest, Parent, Wanted, Seen)
    end.

supervisor_modules(Pid, Modules) ->
    Listed =
        case Modules of
            dynamic -> [];
            _ -> Modules
        end,
    case initial_call(Pid) of
        {supervisor, Module, _} -> [Module | Listed];
        _ -> Listed
    end.

%% Only a gen_event knows the question; any other process would take it for a stray message.
dynamic_modules(Pid) ->
    case initial_call(Pid) of
        {gen_event, _, _} ->
            try gen:call(Pid, self(), get_modules, 5000) of
                {ok, Modules} -> Modules
            catch
                exit:timeout -> silent;
                _:_ -> []
            end;
        {Module, _, _} ->
            [Module];
        none ->
            []
    end.

initial_call(Pid) ->
    case process_info(Pid, [initial_call, dictionary]) of
        undefined ->
            none;
        [{initial_call, Spawned}, {dictionary, Dictionary}] ->
            case lists:keyfind('$initial_call', 1, Dictionary) of
                {_, {_, _, _} = Call} -> Call;
                _ -> Spawned
            end
    end.

%% The process, or its name, that started this one by proc_lib.
parent(Pid) ->
    case process_info(Pid, dictionary) of
        {dictionary, Dictionary} ->
            case lists:keyfind('$ancestors', 1, Dictionary) of
                {_, [Parent | _]} -> Parent;
                _ -> none
            end;
        undefined ->
            none
    end.

%% The callback module of a process that proc_lib started in an `init`; `unborn` when it has not come so far.
birth(Pid) ->
    case process_info(Pid, [initial_call, dictionary]) of
        undefined ->
            none;
        [{initial_call, Spawned}, {dictionary, Dictionary}] ->
            case {lists:keyfind('$initial_call', 1, Dictionary), Spawned} of
                {{_, {supervisor, Module, _}}, _} -> Module;
                {{_, {Module, init, _}}, _} -> Module;
                {false, {proc_lib, init_p, _}} -> unborn;
                _ -> none
            end
    end.

%% [{Pid, Module}] of the processes that run one of Modules and are not in Supervised: they were started in it,
%% or their outermost frame is in it. Who merely calls it is none.
strays(Modules, Supervised) ->
    Wanted = maps:from_list([{M, true} || M <- Modules]),
    Known = maps:from_list([{Pid, true} || Pid <- Supervised]),
    lists:foldl(
        fun(Pid, Found) ->
            case maps:is_key(Pid, Known) orelse Pid =:= self() of
                true -> Found;
                false -> stray(Pid, Wanted, Found)
            end
        end,
        [],
        processes()
    ).

stray(Pid, Wanted, Found) ->
    case process_info(Pid, current_stacktrace) of
        undefined ->
            Found;
        {_, Stack} ->
            Initial =
                case initial_call(Pid) of
                    none -> [];
                    {supervisor, Module, _} -> [Module];
                    {Module, _, _} -> [Module]
                end,
            Running = Initial ++ [element(1, lists:last(Stack)) || Stack =/= []],
            case [M || M <- Running, maps:is_key(M, Wanted)] of
                [] -> Found;
                [M | _] -> [{Pid, M} | Found]
            end
    end.

%% [{Pid, Module}] of the processes that still run OLD code of one of Modules: what a purge would kill.
in_old_code(Modules) ->
    case [M || M <- Modules, erlang:check_old_code(M)] of
        [] ->
            [];
        Old ->
            lists:foldl(
                fun(Pid, Found) ->
                    case Pid =:= self() of
                        true -> Found;
                        false -> old_ones(Pid, Old, Found)
                    end
                end,
                [],
                processes()
            )
    end.

old_ones(_, [], Found) ->
    Found;
old_ones(Pid, [Module | Rest], Found) ->
    case catch erlang:check_process_code(Pid, Module) of
        true -> old_ones(Pid, Rest, [{Pid, Module} | Found]);
        _ -> old_ones(Pid, Rest, Found)
    end.

%% Knows a system message when it gets one: one of OTP's behaviours, or a special process by what its module exports.
%% Any other takes it for a message of its own, and may die of it.
takes_system_messages(Pid) ->
    Call = written_call(Pid),
    is_behaviour(Call) orelse is_special(Call).

is_behaviour({supervisor, _, _}) -> true;
is_behaviour({supervisor_bridge, _, _}) -> true;
is_behaviour({gen_event, init_it, _}) -> true;
is_behaviour({Module, init, 1}) -> is_server(Module) orelse erlang:function_exported(Module, callback_mode, 0);
is_behaviour(_) -> false.

%% Of loaded modules only: nothing is loaded for this.
is_server(Module) ->
    erlang:function_exported(Module, handle_call, 3) andalso erlang:function_exported(Module, handle_cast, 2).

is_special({Module, init, _}) ->
    erlang:function_exported(Module, system_continue, 3) andalso
        erlang:function_exported(Module, system_terminate, 4);
is_special(_) ->
    false.

%% What proc_lib wrote down when it started the process; it starts all that take system messages.
written_call(Pid) ->
    case process_info(Pid, dictionary) of
        {dictionary, Dictionary} ->
            case lists:keyfind('$initial_call', 1, Dictionary) of
                {_, Call} -> Call;
                false -> none
            end;
        undefined ->
            none
    end.

%% [{Pid, Module}] of the processes that stand in a suspend loop of `sys`, or that another process has suspended.
suspended() ->
    Standing = [{Pid, How} || Pid <- processes(), How <- [standing(Pid)], How =/= free],
    Hibernating = [Pid || Pid <- processes(), hibernates(Pid)],
    Held = held_by_others([Pid || {Pid, stopped} <- Standing]),
    Found = [Pid || {Pid, suspended} <- Standing] ++ Held ++ suspended_asleep(Hibernating),
    [{Pid, element(1, shown_call(Pid))} || Pid <- Found].

is_suspended(Pid) -> standing(Pid) =:= suspended.

standing(Pid) ->
    case process_info(Pid, [current_function, status]) of
        [{_, {sys, suspend_loop, _}}, _] -> suspended;
        [{_, {sys, suspend_loop_hib, _}}, _] -> suspended;
        [_, {_, suspended}] -> stopped;
        _ -> free
    end.

%% The VM stops processes for a while by itself: who sends to a slow client, who waits for a purge.
held_by_others([]) ->
    [];
held_by_others(Stopped) ->
    Held = [Pid || By <- processes(), {suspending, Pids} <- [process_info(By, suspending)], {Pid, _, _} <- Pids],
    [Pid || Pid <- Stopped, lists:member(Pid, Held)].

%% Of OTP's behaviours a hibernating process does not show what it will wake up in. Others hibernate only
%% while they run, and are not woken for this.
hibernates(Pid) ->
    case process_info(Pid, [current_function, memory]) of
        [{_, {erlang, hibernate, 3}}, {_, Bytes}] when Bytes < 1000000 -> is_behaviour(written_call(Pid));
        _ -> false
    end.

suspended_asleep(Pids) ->
    Tag = make_ref(),
    lists:foreach(fun(Pid) -> Pid ! {system, {self(), {Tag, Pid}}, get_status} end, Pids),
    statuses(Tag, length(Pids), erlang:monotonic_time(millisecond) + 2000, []).

statuses(_, 0, _, Found) ->
    Found;
statuses(Tag, Left, Deadline, Found) ->
    receive
        {{Tag, Pid}, {status, _, _, [_, suspended | _]}} -> statuses(Tag, Left - 1, Deadline, [Pid | Found]);
        {{Tag, _}, _} -> statuses(Tag, Left - 1, Deadline, Found)
    after max(0, Deadline - erlang:monotonic_time(millisecond)) -> Found
    end.

shown_call(Pid) ->
    case initial_call(Pid) of
        none -> {undefined, undefined, 0};
        {supervisor, Module, Arity} -> {Module, init, Arity};
        Call -> Call
    end.

%% [{PidText, Name, Module, ClientId | undefined}], binaries, of [{Pid, Module}].
seen([]) ->
    [];
seen(Found) ->
    Clients = clients(maps:from_list([{Pid, true} || {Pid, _} <- Found])),
    [
        {list_to_binary(pid_to_list(Pid)), name(Pid), atom_to_binary(Module, utf8),
            maps:get(Pid, Clients, undefined)}
     || {Pid, Module} <- Found
    ].

name(Pid) ->
    case process_info(Pid, registered_name) of
        {registered_name, Name} ->
            atom_to_binary(Name, utf8);
        _ ->
            {M, F, A} = shown_call(Pid),
            unicode:characters_to_binary(io_lib:format("~ts:~ts/~w", [M, F, A]))
    end.

%% Client ids by pid, from the channel table of EMQX's connection manager where there is one.
clients(Pids) ->
    case ets:whereis(emqx_channel) of
        undefined ->
            #{};
        Table ->
            try
                ets:foldl(fun(Row, Known) -> client(Row, Known, Pids) end, #{}, Table)
            catch
                error:badarg -> #{}
            end
    end.

client({ClientId, Pid}, Known, Pids) when is_binary(ClientId), is_pid(Pid), is_map_key(Pid, Pids) ->
    Known#{Pid => ClientId};
client(_, Known, _) ->
    Known.
