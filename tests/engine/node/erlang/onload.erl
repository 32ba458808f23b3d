-module(onload).
-on_load(load/0).
-export([version/0]).
-ifdef(FAILS).
load() -> {error, planted}.
version() -> failing.
-else.
load() -> ok.
-ifdef(V2).
version() -> v2.
-else.
version() -> v1.
-endif.
-endif.
