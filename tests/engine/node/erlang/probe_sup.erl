%% One supervisor of counters and loopers, and one supervisor that is not OTP's.
-module(probe_sup).
-behaviour(supervisor).
-export([start_link/0, start_counters/1, start_loopers/1, counters/0, loopers/0, init/1]).

start_link() -> supervisor:start_link({local, ?MODULE}, ?MODULE, top).

start_counters(Count) -> started(counters, Count).
start_loopers(Count) -> started(loopers, Count).
started(Name, Count) ->
    {_, Sup, _, _} = lists:keyfind(Name, 1, supervisor:which_children(?MODULE)),
    [element(2, supervisor:start_child(Sup, [N])) || N <- lists:seq(1, Count)].

counters() -> running(counters).
loopers() -> running(loopers).
running(Name) ->
    {_, Sup, _, _} = lists:keyfind(Name, 1, supervisor:which_children(?MODULE)),
    [Pid || {_, Pid, _, _} <- supervisor:which_children(Sup), is_pid(Pid)].

init(top) ->
    {ok, {#{strategy => one_for_one}, [
        #{id => counters, type => supervisor, start => {supervisor, start_link, [?MODULE, counter]}},
        #{id => loopers, type => supervisor, start => {supervisor, start_link, [?MODULE, looper]}},
        #{id => other, type => supervisor, start => {other_sup, start_link, []}},
        #{id => events, modules => dynamic, start => {gen_event, start_link, [{local, probe_events}]}}
    ]}};
init(Module) ->
    {ok, {#{strategy => simple_one_for_one, intensity => 1000}, [
        #{id => child, restart => temporary, modules => [Module], start => {Module, start_link, []}}
    ]}}.
