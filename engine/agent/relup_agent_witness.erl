%% Sees clients' connections end while an upgrade is at work, within a step and between two, and knows why.
%%
%% The connection manager forgets a client in the moment its connection dies. So each connection is watched, and its
%% client id kept, from the first live step on: {Pid, ClientId} in the table relup_agent_witness. One that ends
%% otherwise than by being closed becomes {{ended, Pid}, ClientId, Reason} there.

-module(relup_agent_witness).

-export([watch/0, ended/0, told/1, clients/1, stop/0]).

%% Returns when every connection that there is now is watched.
watch() ->
    whereis(relup_agent_witness) =:= undefined andalso start(),
    ask(watch, none).

%% [{PidText, Name, Reason, ClientId}] of those that ended and are not told yet.
ended() ->
    ask(ended, []).

%% These stand in a report now.
told(Ended) ->
    ask({told, [PidText || {PidText, _, _, _} <- Ended]}, none).

%% The client ids of those that live or are not told yet, by pid.
clients(Pids) ->
    ask({clients, Pids}, #{}).

stop() ->
    ask(stop, none).

start() ->
    Starter = self(),
    {Pid, Ref} = spawn_monitor(fun() -> witness(Starter) end),
    receive
        {Pid, stands} -> demonitor(Ref, [flush]);
        {'DOWN', Ref, process, Pid, _} -> none
    end.

%% Without says what is so without a witness.
ask(Request, Without) ->
    Ref = monitor(process, relup_agent_witness),
    catch relup_agent_witness ! {Request, self(), Ref},
    receive
        {Ref, Answer} ->
            demonitor(Ref, [flush]),
            Answer;
        {'DOWN', Ref, process, _, _} ->
            Without
    end.

%% ---------------------------------------------------------------- the witness

witness(Starter) ->
    true = register(relup_agent_witness, self()),
    ets:new(relup_agent_witness, [named_table, protected, set]),
    Starter ! {self(), stands},
    witnessing(monitor(process, relup_agent)).

witnessing(Desk) ->
    receive
        {'DOWN', Desk, process, _, _} ->
            _ = erlang:send_after(60000, self(), is_desk_there),
            witnessing(none);
        is_desk_there ->
            is_pid(whereis(relup_agent)) andalso witnessing(monitor(process, relup_agent));
        {'DOWN', _, process, Pid, Reason} ->
            ends(Pid, Reason),
            witnessing(Desk);
        {stop, From, Ref} ->
            From ! {Ref, stopped};
        {Request, From, Ref} ->
            From ! {Ref, answer(Request)},
            witnessing(Desk)
    end.

answer(watch) ->
    try
        ets:foldl(fun watch/2, watched, emqx_channel)
    catch
        error:badarg -> no_clients
    end;
answer(ended) ->
    [
        {list_to_binary(pid_to_list(Pid)), <<"connection">>, Reason, ClientId}
     || [Pid, ClientId, Reason] <- ets:match(relup_agent_witness, {{ended, '$1'}, '$2', '$3'})
    ];
answer({told, Texts}) ->
    [ets:delete(relup_agent_witness, {ended, list_to_pid(binary_to_list(Text))}) || Text <- Texts],
    told;
answer({clients, Pids}) ->
    maps:from_list([{Pid, ClientId} || Pid <- Pids, ClientId <- known(Pid)]).

watch({ClientId, Pid}, Watched) when is_binary(ClientId), is_pid(Pid) ->
    ets:insert_new(relup_agent_witness, {Pid, ClientId}) andalso monitor(process, Pid),
    Watched;
watch(_, Watched) ->
    Watched.

known(Pid) ->
    case ets:lookup(relup_agent_witness, Pid) ++ ets:lookup(relup_agent_witness, {ended, Pid}) of
        [{_, ClientId}] -> [ClientId];
        [{_, ClientId, _}] -> [ClientId];
        [] -> []
    end.

%% ---------------------------------------------------------------- how a connection ends

ends(Pid, Reason) ->
    case {ets:take(relup_agent_witness, Pid), how(Reason)} of
        {[{Pid, ClientId}], Text} when is_binary(Text) ->
            ets:insert(relup_agent_witness, {{ended, Pid}, ClientId, Text});
        _ ->
            forgotten
    end.

%% `closed` by the client, by its connection manager, or before it could be watched.
how(Reason) when Reason =:= normal; Reason =:= noproc -> closed;
how({shutdown, _}) -> closed;
how(Reason) when Reason =:= shutdown; Reason =:= killed -> stopped(Reason, relup_agent_section:value(order, none));
how(Reason) -> relup_agent_load:text("~0tP", [Reason, 20]).

%% A supervisor that stops tells all the same, and kills who does not hear: whether its application is being
%% restarted, the order says.
stopped(_, {restart_application, Application, _, _, _}) ->
    relup_agent_load:text("stopped: ~ts was restarted", [Application]);
stopped(shutdown, _) ->
    closed;
stopped(killed, _) ->
    <<"killed">>.
