%% Like a connection process: a special process with a loop of its own, a state that grows, and requests.
-module(pause_conn).
-export([start_link/1, init/2, loop/2]).
-export([system_continue/3, system_terminate/4, system_code_change/4]).

start_link(N) -> proc_lib:start_link(?MODULE, init, [self(), N]).

init(Parent, N) ->
    proc_lib:init_ack(Parent, {ok, self()}),
    loop(Parent, new(N)).

-ifdef(V2).
new(N) -> {conn, N, lists:seq(1, 50), fresh}.
seen({conn, N, L, X}) -> {conn, N + 1, L, X}.
system_code_change({conn, N, L}, _, _, _) -> {ok, {conn, N, L, grown}};
system_code_change({conn, N, L, _}, _, {down, _}, _) -> {ok, {conn, N, L}}.
-else.
new(N) -> {conn, N, lists:seq(1, 50)}.
seen({conn, N, L}) -> {conn, N + 1, L}.
system_code_change(State, _, _, _) -> {ok, State}.
-endif.

loop(Parent, State) ->
    receive
        {system, From, Request} ->
            sys:handle_system_msg(Request, From, Parent, ?MODULE, [], State);
        {ping, From, At} ->
            From ! {pong, At},
            ?MODULE:loop(Parent, seen(State));
        {busy, Ms} ->
            timer:sleep(Ms),
            self() ! {busy, Ms},
            ?MODULE:loop(Parent, seen(State))
    end.

system_continue(Parent, _, State) -> ?MODULE:loop(Parent, State).
system_terminate(Reason, _, _, _) -> exit(Reason).
