%% Looks for funs of modules where a purge does not: in tables, persistent terms, process dictionaries and the
%% states of a few processes. Interpreted by the reading side, never loaded; never complete.
%%
%% A fun of a module that is replaced works until the old code is purged and fails at its next call then.
%% Every look is bounded: rows of a table, size and nodes of a term, processes, and the whole by time.

-module(relup_held_funs).

-export([held/2]).

%% [{Module, Where, IsOld, Count}], binaries and booleans, found within BudgetMs; and whether time ran out.
held(Modules, BudgetMs) ->
    Wanted = {maps:from_list([{M, md5(M)} || M <- Modules]), names(Modules)},
    Deadline = erlang:monotonic_time(millisecond) + BudgetMs,
    Places = lists:append([tables(), constants(), dictionaries(), states()]),
    {Found, Late} = look(Places, Wanted, Deadline, #{}),
    {[{atom_to_binary(M, utf8), Where, IsOld, N} || {{M, Where, IsOld}, N} <- maps:to_list(Found)], Late}.

names([]) -> none;
names(Modules) -> binary:compile_pattern([atom_to_binary(M, utf8) || M <- Modules]).

md5(Module) ->
    try
        erlang:get_module_info(Module, md5)
    catch
        error:badarg -> undefined
    end.

look([], _, _, Found) ->
    {Found, false};
look([{Where, Fetch} | Places], Wanted, Deadline, Found) ->
    case erlang:monotonic_time(millisecond) > Deadline of
        true ->
            {Found, true};
        false ->
            Funs = in(try Fetch() catch _:_ -> [] end, Wanted),
            look(Places, Wanted, Deadline, lists:foldl(
                fun({M, IsOld}, Acc) -> maps:update_with({M, Where, IsOld}, fun(N) -> N + 1 end, 1, Acc) end,
                Found,
                Funs
            ))
    end.

%% ---------------------------------------------------------------- places: {Where, fun that fetches the term}

tables() ->
    [
        {text("ETS table ~tp", [ets:info(Table, name)]), fun() -> rows(Table) end}
     || Table <- ets:all(), ets:info(Table, protection) =/= private
    ].

rows(Table) ->
    case ets:match_object(Table, '$1', 200) of
        {Rows, _} -> [Row || Row <- Rows, is_modest(Row)];
        _ -> []
    end.

constants() ->
    [
        {text("persistent term ~tP", [Key, 8]), fun() -> Value end}
     || {Key, Value} <- persistent_term:get(), is_modest(Value)
    ].

%% Its written form is made below: what is large would cost the node more memory than a fun in it is worth.
is_modest(Term) ->
    erlang:external_size(Term) < 1000000.

dictionaries() ->
    %% The oldest processes are the services.
    [
        {text("process dictionary of ~ts", [name(Pid)]), fun() -> element(2, process_info(Pid, dictionary)) end}
     || Pid <- lists:sublist(processes(), 2000), Pid =/= self(), is_small(Pid)
    ].

is_small(Pid) ->
    case process_info(Pid, memory) of
        {memory, Bytes} -> Bytes < 1000000;
        undefined -> false
    end.

%% Registered gen_servers and the like: the services, never the connections.
states() ->
    [
        {text("state of ~ts", [Name]), fun() -> sys:get_state(Name, 200) end}
     || Name <- lists:sublist(registered(), 300), is_service(whereis(Name))
    ].

is_service(Pid) when is_pid(Pid) ->
    case process_info(Pid, [current_function, message_queue_len, memory]) of
        [{_, {gen_server, loop, _}}, {_, 0}, {_, Bytes}] -> Bytes < 1000000;
        [{_, {gen_statem, loop_receive, _}}, {_, 0}, {_, Bytes}] -> Bytes < 1000000;
        _ -> false
    end;
is_service(_) ->
    false.

name(Pid) ->
    case process_info(Pid, registered_name) of
        {registered_name, Name} -> atom_to_list(Name);
        _ -> pid_to_list(Pid)
    end.

text(Format, Arguments) ->
    unicode:characters_to_binary(io_lib:format(Format, Arguments)).

%% ---------------------------------------------------------------- funs in a term

%% [{Module, IsOld}] of at most 5,000 nodes of a term. Walking is slow here, so it is done only where the
%% written form of the term holds the name of one of the modules at all.
in(_, {_, none}) ->
    [];
in(Term, {Wanted, Names}) ->
    case binary:match(term_to_binary(Term), Names) of
        nomatch ->
            [];
        _ ->
            {_, Found} = nodes([Term], 5000, Wanted, []),
            Found
    end.

nodes([], Left, _, Found) ->
    {Left, Found};
nodes(_, 0, _, Found) ->
    {0, Found};
nodes([Term | Rest], Left, Wanted, Found) when is_function(Term) ->
    nodes(Rest, Left - 1, Wanted, held_fun(Term, Wanted) ++ Found);
nodes([Term | Rest], Left, Wanted, Found) when is_tuple(Term) ->
    nodes(tuple_to_list(Term) ++ Rest, Left - 1, Wanted, Found);
nodes([[Head | Tail] | Rest], Left, Wanted, Found) ->
    nodes([Head, Tail | Rest], Left - 1, Wanted, Found);
nodes([Term | Rest], Left, Wanted, Found) when is_map(Term) ->
    nodes(maps:values(Term) ++ Rest, Left - 1, Wanted, Found);
nodes([_ | Rest], Left, Wanted, Found) ->
    nodes(Rest, Left - 1, Wanted, Found).

%% Not `fun m:f/1`, which always calls the code that is live.
held_fun(Fun, Wanted) ->
    {module, Module} = erlang:fun_info(Fun, module),
    case {erlang:fun_info(Fun, type), maps:is_key(Module, Wanted)} of
        {{type, local}, true} ->
            {new_uniq, Uniq} = erlang:fun_info(Fun, new_uniq),
            [{Module, Uniq =/= maps:get(Module, Wanted)}];
        _ ->
            []
    end.
