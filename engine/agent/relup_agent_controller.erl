%% The application controller: whether it answers, and whose stop it waits for when it does not.
%%
%% It stops one application at a time, and answers nobody until that has ended. A stop that never ends silences it
%% for ever; the end of the process that is at it gives it back.

-module(relup_agent_controller).

-export([answers/1, silent/0]).

%% `ok`, or {not_done, app_still_stopping, Text}.
answers(TimeoutMs) ->
    try application:which_applications(TimeoutMs) of
        _ -> ok
    catch
        exit:{timeout, _} -> silent()
    end.

silent() ->
    Shown = [relup_agent_load:text("~ts still stops, in ~ts; ", [App, at_it(Master)]) || {App, Master} <- stopping()],
    {not_done, app_still_stopping, relup_agent_load:text("~tsthe application controller does not answer", [Shown])}.

%% It watches the master of the application that it stops, and no other process.
stopping() ->
    {monitors, Watched} = process_info(whereis(application_controller), monitors),
    [{App, Master} || {process, Master} <- Watched, is_pid(Master), {ok, App} <- [application:get_application(Master)]].

%% The master has one process of its own, which runs the callbacks.
at_it(Master) ->
    Linked = [Pid || {links, Links} <- [process_info(Master, links)], Pid <- Links, is_pid(Pid)],
    Own = Linked -- [whereis(application_controller)],
    lists:join(", ", [[pid_to_list(Pid), call(process_info(Pid, current_function))] || Pid <- Own]).

call({current_function, {M, F, A}}) -> io_lib:format(" (~ts:~ts/~w)", [M, F, A]);
call(_) -> "".
