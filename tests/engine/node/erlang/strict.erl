%% A loop that proc_lib started and that ends at any message that is none of its own: `idle` waits in the code it came
%% with, `asleep` hibernates. It lists one counter when it is asked for its children.
-module(strict).
-export([start/1, start_link/0, version/0, init/1, idle/1, asleep/1]).

-ifdef(V2).
version() -> v2.
-else.
version() -> v1.
-endif.

start(How) -> proc_lib:spawn(?MODULE, init, [How]).
start_link() -> {ok, proc_lib:spawn_link(?MODULE, init, [idle])}.

init(idle) -> {ok, Child} = gen_server:start_link(counter, 1, []), idle(Child);
init(asleep) -> erlang:hibernate(?MODULE, asleep, [none]).

idle(Child) -> receive Message -> known(Message, Child), idle(Child) end.
asleep(Child) -> receive Message -> known(Message, Child), erlang:hibernate(?MODULE, asleep, [Child]) end.

known({'$gen_call', From, which_children}, Child) -> gen_server:reply(From, [{child, Child, worker, [counter]}]);
known(Message, _) -> exit({unexpected, Message}).
