%% Stops an application, puts other modules and another .app in its place, and starts it again right there.
%%
%% Environment set at run time outlives the restart, also one that failed: it is kept in `relup_agent_kept`
%% until the application runs again. It is started as temporary whatever it was: the start of a permanent or
%% transient application that fails ends the whole node.

-module(relup_agent_application).

-export([restart/5]).

restart(Application, _, _, _, _) when Application =:= kernel; Application =:= stdlib; Application =:= compiler ->
    not_done(restart_refused, relup_agent_load:text("~ts is never restarted", [Application]), true);
restart(Application, Files, Remove, #{app_file := AppFile} = Options, Tell) ->
    case {file:consult(AppFile), relup_agent_load:read(Files)} of
        {{ok, [{application, Application, _} = Spec]}, {ok, _}} ->
            answered(Application, Spec, Files, Remove, Options, Tell);
        {_, {not_done, Name, Text}} ->
            not_done(Name, Text, true);
        {Consulted, _} ->
            Text = relup_agent_load:text("~ts is no description of ~ts: ~0tP", [AppFile, Application, Consulted, 20]),
            not_done(app_not_found, Text, true)
    end.

not_done(Name, Text, Reverted) ->
    {not_done, #{name => Name, detail => Text, reverted => Reverted}}.

%% A stop that another order or another hand has begun may go on still: it is waited for as one of our own is.
answered(Application, Spec, Files, Remove, #{timeout_ms := Timeout} = Options, Tell) ->
    case relup_agent_controller:answers(Timeout) of
        ok -> clear(Application, Spec, Files, Remove, Options, Tell);
        {not_done, Name, Text} -> not_done(Name, Text, true)
    end.

%% Who lingers in old code and is none of the application's own would only be found when it has stopped.
clear(Application, Spec, Files, Remove, Options, Tell) ->
    Modules = [M || {M, _, Md5} <- Files, relup_agent_load:live(M) =/= Md5] ++ Remove,
    IsOwn = fun(Pid) -> application:get_application(Pid) =:= {ok, Application} end,
    case relup_agent_slot:others_left(Modules, IsOwn, Options) of
        ok -> stop(Application, Spec, Files, Remove, waited(Options), Tell);
        {not_done, Name, Text} -> not_done(Name, Text, true)
    end.

%% Whoever is to be killed was waited for: it is not done again while the application stands.
waited(#{kill_blockers := true, blocker_timeout_ms := Timeout} = Options) ->
    Options#{blocker_timeout_ms := min(Timeout, 500)};
waited(Options) ->
    Options.

stop(Application, Spec, Files, Remove, #{timeout_ms := Timeout} = Options, Tell) ->
    Old = old_spec(Application),
    keep(Application, Old),
    case within(Timeout, fun() -> application:stop(Application) end) of
        Stopped when Stopped =:= ok; Stopped =:= {error, {not_started, Application}} ->
            replace(Application, Old, Spec, Files, Remove, Options, Tell);
        Failure ->
            %% The stop goes on without us: whether it still runs says nothing.
            not_done(failed_to_stop_app, relup_agent_load:text("~ts: ~0tP", [Application, Failure, 30]), false)
    end.

old_spec(Application) ->
    case application:get_all_key(Application) of
        {ok, Keys} -> {application, Application, Keys};
        undefined -> none
    end.

replace(Application, Old, Spec, Files, Remove, Options, Tell) ->
    case relup_agent_load:load(Files, Options, Tell) of
        {done, #{switched := Switched} = Counts} ->
            case relup_agent_slot:clear_old(Remove, Options) of
                ok ->
                    Gone = relup_agent_load:delete(Remove),
                    relup_agent:purge_later(Switched ++ Gone),
                    Told = maps:with([modules, skipped, batches, worst_stall_us], Counts),
                    start(Application, Spec, Options, Told);
                {not_done, Name, Text} ->
                    as_it_was(Application, Old, Options, Name, Text, Switched)
            end;
        {not_done, Name, Text, Switched} ->
            as_it_was(Application, Old, Options, Name, Text, Switched)
    end.

%% Nothing was switched: the old application starts again. Else nothing is started on mixed modules.
as_it_was(Application, Old, Options, Name, Text, []) ->
    Restarted = Old =/= none andalso start(Application, Old, Options, #{}),
    not_done(Name, Text, is_tuple(Restarted) andalso element(1, Restarted) =:= done);
as_it_was(_, _, _, Name, Text, _) ->
    not_done(Name, Text, false).

start(Application, Spec, #{timeout_ms := Timeout}, Report) ->
    {Type, Environment} = kept(Application),
    Notes = [
        relup_agent_load:text("~ts was ~ts and is temporary until the node restarts", [Application, Type])
     || Type =/= temporary
    ],
    _ = application:unload(Application),
    case application:load(Spec) of
        ok ->
            [application:set_env(Application, Key, Value) || {Key, Value} <- Environment],
            started(Application, within(Timeout, fun() -> application:start(Application) end), Report#{notes => Notes});
        Failure ->
            not_done(failed_to_start_app, relup_agent_load:text("~ts: ~0tP", [Application, Failure, 30]), false)
    end.

started(Application, ok, Report) ->
    ets:delete(relup_agent_kept, Application),
    {done, Report};
started(Application, Failure, _) ->
    not_done(failed_to_start_app, relup_agent_load:text("~ts: ~0tP", [Application, Failure, 40]), false).

%% ---------------------------------------------------------------- what outlives the restart

keep(Application, Spec) ->
    ets:insert_new(relup_agent_kept, {Application, start_type(Application), set_at_run_time(Application, Spec)}).

kept(Application) ->
    [{Application, Type, Environment}] = ets:lookup(relup_agent_kept, Application),
    {Type, Environment}.

start_type(Application) ->
    proplists:get_value(Application, proplists:get_value(started, application:info(), []), temporary).

%% What differs from the .app beside the running modules; all of it when that cannot be read.
set_at_run_time(_, none) ->
    [];
set_at_run_time(Application, {application, Application, Keys}) ->
    application:get_all_env(Application) -- defaults(Application, proplists:get_value(modules, Keys, [])).

defaults(Application, Modules) ->
    Name = atom_to_list(Application) ++ ".app",
    Beams = [Beam || Module <- Modules, {file, Beam} <- [code:is_loaded(Module)], is_list(Beam)],
    case [file:consult(filename:join(filename:dirname(Beam), Name)) || Beam <- lists:sublist(Beams, 1)] of
        [{ok, [{application, Application, Keys}]}] -> proplists:get_value(env, Keys, []);
        _ -> []
    end.

%% ---------------------------------------------------------------- a call that may hang

within(TimeoutMs, Call) ->
    {Pid, Ref} = spawn_monitor(fun() -> exit({relup_answer, Call()}) end),
    receive
        {'DOWN', Ref, process, Pid, {relup_answer, Answer}} -> Answer;
        {'DOWN', Ref, process, Pid, Reason} -> {error, Reason}
    after TimeoutMs ->
        exit(Pid, kill),
        demonitor(Ref, [flush]),
        {error, {no_answer_within_ms, TimeoutMs}}
    end.
