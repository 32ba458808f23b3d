%% Asks connections steadily and writes down how long each answer took; and the three other ways of a hop.
-module(pause_probe).
-export([start/1, stop/0, busy/2, official/3, plain/2, release_handler/1, load_one_by_one/1]).

%% PerMs requests are sent each millisecond to connections in turn, without waiting for the answers.
start(PerMs) ->
    Conns = list_to_tuple(pause_app:connections()),
    Collector = spawn(fun() -> process_flag(priority, high), collect([], 0) end),
    register(pause_collector, Collector),
    register(pause_sender, spawn(fun() -> process_flag(priority, high), send(Conns, 1, PerMs, Collector, 0) end)),
    timer:sleep(300),
    pause_collector ! forget,
    ok.

send(Conns, At, PerMs, Collector, Sent) ->
    receive
        {stop, From} -> From ! {sent, Sent}
    after 1 ->
        Next = send_some(Conns, At, PerMs, Collector),
        send(Conns, Next, PerMs, Collector, Sent + PerMs)
    end.

send_some(_, At, 0, _) -> At;
send_some(Conns, At, Left, Collector) ->
    element(At, Conns) ! {ping, Collector, erlang:monotonic_time(microsecond)},
    send_some(Conns, (At + 7919 - 1) rem tuple_size(Conns) + 1, Left - 1, Collector).

collect(Took, Worst) ->
    receive
        {pong, At} ->
            Us = erlang:monotonic_time(microsecond) - At,
            collect([Us | Took], max(Us, Worst));
        forget -> collect([], 0);
        {report, From} -> From ! {Took, Worst}
    end.

%% {WorstUs, P99Us, Answers, Alive}. Every connection is called twice in the end: a state that does not fit the
%% code shows when the code is next used.
stop() ->
    pause_sender ! {stop, self()},
    receive {sent, _} -> ok end,
    timer:sleep(300),
    Nobody = spawn(fun() -> ok end),
    [[Pid ! {ping, Nobody, 0} || _ <- [1, 2]] || Pid <- pause_app:connections()],
    timer:sleep(1000),
    pause_collector ! {report, self()},
    receive
        {Took, Worst} ->
            Sorted = lists:sort(Took),
            Index = max(1, length(Sorted) * 99 div 100),
            {Worst, lists:nth(Index, Sorted), length(Sorted), length(pause_app:connections())}
    end.

%% The first Count connections spend all their time in callbacks of Ms.
busy(Count, Ms) ->
    Busy = lists:sublist(pause_app:connections(), Count),
    [erlang:send_after(rand:uniform(Ms), Pid, {busy, Ms}) || Pid <- Busy],
    timer:sleep(2 * Ms).

%% One after the other: suspend all, load, change all, resume all; who does not answer is passed over.
official(Module, File, Vsn) ->
    timed(fun() ->
        {ok, Beam} = file:read_file(File),
        Pids = pause_app:connections(),
        [catch sys:suspend(Pid) || Pid <- Pids],
        code:purge(Module),
        {module, Module} = code:load_binary(Module, File, Beam),
        [catch sys:change_code(Pid, Module, Vsn, []) || Pid <- Pids],
        [catch sys:resume(Pid) || Pid <- Pids]
    end).

plain(Module, File) ->
    timed(fun() ->
        {ok, Beam} = file:read_file(File),
        code:purge(Module),
        {module, Module} = code:load_binary(Module, File, Beam)
    end).

release_handler(Folder) ->
    timed(fun() -> {ok, _} = release_handler:upgrade_app(pause, Folder) end).

%% {TotalUs, MixedUs}: read, purge, load, module after module; mixed from the first to the last switch.
load_one_by_one(Files) ->
    Start = erlang:monotonic_time(microsecond),
    [First | _] = Loaded = [
        begin
            {ok, Beam} = file:read_file(File),
            Module = list_to_atom(filename:basename(File, ".beam")),
            code:purge(Module),
            {module, Module} = code:load_binary(Module, File, Beam),
            erlang:monotonic_time(microsecond)
        end
     || File <- Files
    ],
    {lists:last(Loaded) - Start, lists:last(Loaded) - First}.

timed(Way) ->
    Start = erlang:monotonic_time(microsecond),
    Way(),
    erlang:monotonic_time(microsecond) - Start.
