%% A service in an application of its own, restarted whole by a hop. FAILS: the build that does not start.
-module(store).
-behaviour(application).
-behaviour(supervisor).
-export([start/2, stop/1, init/1, version/0]).

-ifdef(V2).
version() -> v2.
-else.
version() -> v1.
-endif.

-ifdef(FAILS).
start(_, _) -> {error, planted}.
-else.
start(_, _) -> supervisor:start_link({local, ?MODULE}, ?MODULE, []).
-endif.
stop(_) -> ok.
init([]) -> {ok, {#{}, []}}.
