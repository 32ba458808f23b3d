%% A process with a state that grows: {counter, N} in version 1, {counter, N, Label} in version 2.
%% What its code_change does for one process stands in the public table `trouble`: {{Way, Pid}, What}; how often
%% it was asked to, too: {{asked, Way, Pid}, Count}. One that is started with N waits in its init while there is
%% {{born, N}, block}. `hold` keeps one busy for a time, or for ever. ON_LOAD_MS: how long its load takes.
-module(counter).
-behaviour(gen_server).
-export([start_link/1, bump/1, read/1, hold/2, closure/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, code_change/3]).
-ifdef(ON_LOAD_MS).
-on_load(wait/0).
wait() -> timer:sleep(?ON_LOAD_MS), ok.
-endif.

start_link(N) -> gen_server:start_link(?MODULE, N, []).
bump(Pid) -> gen_server:call(Pid, bump).
read(Pid) -> gen_server:call(Pid, read).
closure() -> fun() -> ?LINE end.
hold(Pid, Ms) -> gen_server:cast(Pid, {hold, Ms}).

-ifdef(V2).
init(N) -> born(N), {ok, {counter, N, fresh}}.
handle_call(bump, _, {counter, N, L}) -> {reply, ok, {counter, N + 1, L}};
handle_call(read, _, {counter, N, L} = S) -> {reply, {v2, N, L}, S}.
code_change({down, Vsn}, {counter, N, _}, _) -> trouble(down), {ok, note(Vsn, {counter, N})};
code_change(_, {counter, N}, Extra) -> trouble(up, {ok, {counter, N, Extra}}).
trouble(Way, Good) ->
    case trouble(Way) of
        none -> Good;
        Wrong -> Wrong
    end.
trouble(Way) ->
    ets:update_counter(trouble, {asked, Way, self()}, 1, {asked, 0}),
    case ets:lookup(trouble, {Way, self()}) of
        [] -> none;
        [{_, crash}] -> error(planted);
        [{_, exit}] -> exit(planted);
        [{_, throw}] -> throw(planted);
        [{_, error}] -> {error, planted};
        [{_, wrong}] -> planted;
        [{_, block}] -> receive go_on -> none end;
        [{_, slow}] -> timer:sleep(20), none;
        [{_, die}] -> exit(self(), kill), receive after infinity -> none end
    end.
note(_, State) -> State.
-else.
init(N) -> born(N), {ok, {counter, N}}.
handle_call(bump, _, {counter, N}) -> {reply, ok, {counter, N + 1}};
handle_call(read, _, {counter, N} = S) -> {reply, {v1, N}, S}.
code_change(_, State, _) -> {ok, State}.
-endif.

born(N) ->
    case ets:whereis(trouble) =/= undefined andalso ets:lookup(trouble, {born, N}) of
        [{_, block}] -> timer:sleep(10), born(N);
        _ -> ok
    end.

handle_cast({hold, Ms}, S) -> timer:sleep(Ms), {noreply, S}.
handle_info(_, S) -> {noreply, S}.
