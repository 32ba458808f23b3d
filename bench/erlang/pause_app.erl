%% The application whose connection processes are changed.
-module(pause_app).
-behaviour(application).
-behaviour(supervisor).
-export([start/2, stop/1, init/1, fill/1, connections/0]).

start(_, _) -> supervisor:start_link({local, ?MODULE}, ?MODULE, top).
stop(_) -> ok.

init(top) ->
    {ok, {#{strategy => one_for_one}, [
        #{id => connections, type => supervisor, start => {supervisor, start_link, [{local, pause_connections}, ?MODULE, connections]}}
    ]}};
init(connections) ->
    {ok, {#{strategy => simple_one_for_one, intensity => 1000000}, [
        #{id => connection, restart => temporary, modules => [pause_conn], start => {pause_conn, start_link, []}}
    ]}}.

fill(Count) -> [{ok, _} = supervisor:start_child(pause_connections, [N]) || N <- lists:seq(1, Count)], ok.

connections() -> [Pid || {_, Pid, _, _} <- supervisor:which_children(pause_connections), is_pid(Pid)].
