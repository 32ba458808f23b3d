%% A state machine with one state, in which it hibernates.
-module(turnstile).
-behaviour(gen_statem).
-export([init/1, callback_mode/0, closed/3]).
init(_) -> {ok, closed, none, hibernate}.
callback_mode() -> state_functions.
closed(_, _, _) -> keep_state_and_data.
