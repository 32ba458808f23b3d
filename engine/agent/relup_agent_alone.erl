%% Loads one module by itself: a sticky one, or one with an on_load function, which cannot be prepared.
%%
%% The code server runs an on_load in a process of its own, serves others meanwhile, and leaves the old code live until
%% it has returned: nobody stands still for it. It would wait for ever. Here a watch ends that process at a deadline;
%% then the code server answers as if the function had failed, and the old code stays.

-module(relup_agent_alone).

-export([load/2, settled/2]).

%% {ok, StallUs}, without the time that an on_load took, or {error, Text}. Deadline: monotonic milliseconds.
load({Module, File, Beam}, Deadline) ->
    Sticky = code:is_sticky(Module),
    [code:unstick_mod(Module) || Sticky],
    Loader = self(),
    Others = others(),
    {Watch, Ref} = spawn_monitor(fun() ->
        watch(monitor(process, Loader), {Module, Others, Deadline}, {now_us(), 0, none, false})
    end),
    Start = now_us(),
    Result = code:load_binary(Module, File, Beam),
    Us = now_us() - Start,
    Watch ! loaded,
    {OnLoadUs, WasEnded} = watched(Watch, Ref),
    [code:stick_mod(Module) || Sticky],
    case Result of
        {module, Module} -> {ok, max(0, Us - OnLoadUs)};
        {error, _} when WasEnded -> {error, overdue(Module, OnLoadUs)};
        {error, Why} -> {error, relup_agent_load:text("~ts is not loaded: ~tp", [Module, Why])}
    end.

watched(Watch, Ref) ->
    receive
        {'DOWN', Ref, process, Watch, {relup_watched, Us, WasEnded}} -> {Us, WasEnded};
        {'DOWN', Ref, process, Watch, _} -> {0, false}
    end.

overdue(Module, Us) ->
    relup_agent_load:text(
        "~ts is not loaded: its on_load function ran for ~w ms, did not return in the time it has, and was ended",
        [Module, Us div 1000]
    ).

%% Returns when a load that a dead hand has asked for is done: the answer of the code server comes behind it, and
%% behind an on_load once that is over. No hand has begun one where nothing is written down.
settled(Module, Deadline) ->
    settled(Module, Deadline, none).

settled(Module, Deadline, Known) ->
    _ = code:get_path(),
    Begun = relup_agent_section:value(on_loads, none),
    case Begun =/= none andalso on_load_process(Module, Begun, Known) of
        Pid when is_pid(Pid) ->
            ended(Pid, Deadline),
            timer:sleep(1),
            settled(Module, Deadline, Pid);
        _ ->
            code:get_path()
    end.

%% ---------------------------------------------------------------- the watch

%% Looks every millisecond: which process it is may show only when several run.
watch(Loader, {Module, Others, Deadline} = What, {Last, Us, Known, WasEnded}) ->
    receive
        loaded -> exit({relup_watched, Us, WasEnded});
        {'DOWN', Loader, process, _, _} -> ok
    after 1 ->
        Now = now_us(),
        case on_load_process(Module, Others, Known) of
            none -> watch(Loader, What, {Now, Us, Known, WasEnded});
            Pid -> watch(Loader, What, {Now, Us + Now - Last, Pid, ended(Pid, Deadline) orelse WasEnded})
        end
    end.

ended(Pid, Deadline) ->
    erlang:monotonic_time(millisecond) >= Deadline andalso exit(Pid, kill).

%% The one that has the module in its stack. A function that has called another as its last deed does not show there:
%% it is the only one that was not running when the step began to load. Behind one that is known nobody else is taken.
on_load_process(Module, Others, Known) ->
    Running = running(),
    case {[Pid || Pid <- Running, runs(Pid, Module)], lists:member(Known, Running), Running -- Others} of
        {[Pid | _], _, _} -> Pid;
        {[], true, _} -> Known;
        {[], false, [Pid]} when Known =:= none -> Pid;
        _ -> none
    end.

%% Those that ran before. A hand that takes over finds them written down.
others() ->
    case relup_agent_section:value(on_loads, none) of
        none ->
            Running = running(),
            relup_agent_section:write(on_loads, Running),
            Running;
        Running ->
            Running
    end.

%% Every on_load that runs now: the code server monitors nobody else.
running() ->
    {monitors, Monitored} = process_info(whereis(code_server), monitors),
    [Pid || {process, Pid} <- Monitored].

runs(Pid, Module) ->
    case process_info(Pid, current_stacktrace) of
        {_, Stack} -> lists:keymember(Module, 1, Stack);
        undefined -> false
    end.

now_us() ->
    erlang:monotonic_time(microsecond).
