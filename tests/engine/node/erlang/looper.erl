%% A special process that re-enters its loop by a local call: it stays in old code until a system message.
-module(looper).
-export([start_link/1, init/2, plain/0, loop/2]).
-export([system_continue/3, system_terminate/4, system_code_change/4, system_get_state/1]).

-ifdef(V2).
version() -> v2.
-else.
version() -> v1.
-endif.

start_link(N) -> proc_lib:start_link(?MODULE, init, [self(), N]).

init(Parent, N) ->
    proc_lib:init_ack(Parent, {ok, self()}),
    loop(Parent, N).

loop(Parent, N) ->
    receive
        {system, From, Request} -> sys:handle_system_msg(Request, From, Parent, ?MODULE, [], N);
        {which, From} -> From ! {version(), N}, loop(Parent, N)
    end.

%% Never leaves its code and knows no system message.
plain() -> spawn(fun stay/0).
stay() -> receive {which, From} -> From ! version(), stay(); stop -> ok end.

system_continue(Parent, _, N) -> ?MODULE:loop(Parent, N).
system_terminate(Reason, _, _, _) -> exit(Reason).
system_code_change(N, _, _, _) -> {ok, N}.
system_get_state(N) -> {ok, N}.
