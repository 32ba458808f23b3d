%% Answers which_children as a connection supervisor does that is none of OTP's.
-module(other_sup).
-behaviour(gen_server).
-export([start_link/0, adopt/1, init/1, handle_call/3, handle_cast/2]).

start_link() -> gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).
adopt(N) -> gen_server:call(?MODULE, {adopt, N}).
init([]) -> {ok, []}.
handle_call({adopt, N}, _, Pids) ->
    {ok, Pid} = gen_server:start(counter, N, []),
    {reply, Pid, [Pid | Pids]};
handle_call(which_children, _, Pids) ->
    {reply, [{undefined, Pid, worker, [counter]} || Pid <- Pids], Pids}.
handle_cast(_, Pids) -> {noreply, Pids}.
