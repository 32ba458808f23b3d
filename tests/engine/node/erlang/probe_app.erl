-module(probe_app).
-behaviour(application).
-export([start/2, stop/1]).

start(_, _) ->
    ets:whereis(trouble) =:= undefined andalso make_trouble(),
    probe_sup:start_link().

make_trouble() ->
    Starter = self(),
    spawn(fun() -> ets:new(trouble, [named_table, public]), Starter ! ready, receive after infinity -> ok end end),
    receive ready -> ok end.

stop(_) -> ok.
