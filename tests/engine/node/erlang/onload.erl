%% Runs a function when it is loaded. FAILS: one that fails; ON_LOAD_MS: one that takes its time, or `infinity`.
%% WAITS: one that never comes back and is not in its own stack.
-module(onload).
-on_load(load/0).
-export([version/0]).
-ifdef(FAILS).
load() -> {error, planted}.
version() -> failing.
-else.
-ifdef(WAITS).
load() -> timer:sleep(infinity).
-else.
-ifdef(ON_LOAD_MS).
load() -> timer:sleep(?ON_LOAD_MS), ok.
-else.
load() -> ok.
-endif.
-endif.
-ifdef(V2).
version() -> v2.
-else.
version() -> v1.
-endif.
-endif.
