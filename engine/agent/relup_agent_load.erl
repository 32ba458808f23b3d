%% Makes code live: read and checked, prepared, switched in batches. Its old slot is relup_agent_slot's.
%%
%% Nothing here knows of processes' states. A module file is `{Module, File, Md5}` (atom, string, 16 bytes).
%% Failures are `{not_done, Name, Text}`; whoever calls adds what is live.

-module(relup_agent_load).

-export([read/1, load/3, ready/1, switch/2, delete/1, live/1, text/2, hex/1]).

%% ---------------------------------------------------------------- reading

%% The beams of all files, or what is wrong with the first bad one.
read(Files) ->
    read(Files, []).

read([], Read) ->
    {ok, lists:reverse(Read)};
read([{Module, File, Md5} | Rest], Read) ->
    case file:read_file(File) of
        {ok, Beam} ->
            case md5(Beam) of
                Md5 -> read(Rest, [{Module, File, plain(Beam)} | Read]);
                Other -> mismatch(Module, File, Md5, Other)
            end;
        {error, Reason} ->
            {not_done, load_failed, text("~ts cannot be read: ~ts", [File, file:format_error(Reason)])}
    end.

mismatch(Module, File, _, undefined) ->
    {not_done, load_failed, text("~ts is no beam file (module ~ts)", [File, Module])};
mismatch(Module, File, Md5, Other) ->
    {not_done, module_md5_mismatch,
        text("~ts (module ~ts) has md5 ~ts, the plan says ~ts", [File, Module, hex(Other), hex(Md5)])}.

md5(Beam) ->
    try code:module_md5(plain(Beam)) of
        Md5 -> Md5
    catch
        _:_ -> undefined
    end.

plain(<<31, 139, _/bits>> = Compressed) -> zlib:gunzip(Compressed);
plain(Beam) -> Beam.

%% The md5 of the code that runs, undefined when the module is not loaded.
live(Module) ->
    try
        erlang:get_module_info(Module, md5)
    catch
        error:badarg -> undefined
    end.

%% ---------------------------------------------------------------- loading

%% Options: max_stall_us, blocker_timeout_ms, kill_blockers, on_load_timeout_ms (of all together); Tell is
%% fun(Done, Total), of all files: those that are live already are done.
%% {done, #{modules, skipped, batches, worst_stall_us, switched}} or {not_done, Name, Text, Switched}
load(Files, Options, Tell) ->
    {Live, Wanted} = lists:partition(fun({M, _, Md5}) -> live(M) =:= Md5 end, Files),
    Skipped = length(Live),
    case read(Wanted) of
        {ok, Beams} ->
            Result = load_read(Beams, Options, fun(Done, Total) -> Tell(Skipped + Done, Skipped + Total) end),
            with_skipped(Result, Skipped);
        {not_done, Name, Text} ->
            {not_done, Name, Text, []}
    end.

with_skipped({done, Counts}, Skipped) -> {done, Counts#{skipped => Skipped}};
with_skipped(NotDone, _) -> NotDone.

load_read(Beams, Options, Tell) ->
    case relup_agent_slot:clear_old([M || {M, _, _} <- Beams], Options) of
        ok -> load_clear(Beams, Options, Tell);
        {not_done, Name, Text} -> {not_done, Name, Text, []}
    end.

load_clear(Beams, Options, Tell) ->
    {Apart, Together} = lists:partition(fun is_apart/1, Beams),
    case prepared(Together) of
        {ok, Prepared, OnLoad} ->
            Start = #{
                modules => 0, batches => 0, worst_stall_us => 0, switched => [],
                total => length(Beams)
            },
            Until = erlang:monotonic_time(millisecond) + maps:get(on_load_timeout_ms, Options),
            in_turn(Apart ++ OnLoad, Until, Prepared, Start, Options, Tell);
        {not_done, Name, Text} ->
            {not_done, Name, Text, []}
    end.

is_apart({Module, _, _}) ->
    code:is_sticky(Module).

%% Those with on_load can fail when they are switched, so they go first, while nothing else is changed.
in_turn([Beam | Rest], Until, Prepared, Counts, Options, Tell) ->
    case relup_agent_alone:load(Beam, Until) of
        {ok, Us} ->
            in_turn(Rest, Until, Prepared, counted([element(1, Beam)], Us, Counts, Tell), Options, Tell);
        {error, Text} ->
            {not_done, load_failed, Text, maps:get(switched, Counts)}
    end;
in_turn([], _, Prepared, Counts, Options, Tell) ->
    batches(Prepared, 1, Counts, none, Options, Tell).

%% A switch has a cost of its own and one for each module; both grow with the number of all functions that
%% the VM exports, and both vary: of fifty usual ones one takes twice as long. Batches are so large that a usual
%% one takes two fifths of the budget, and not so small that little more than the first cost is paid again and again.
batches([], _, Counts, _, _, _) ->
    {done, Counts};
batches(Prepared, Size, Counts, Costs, Options, Tell) ->
    {Batch, Rest} = lists:split(min(Size, length(Prepared)), Prepared),
    Modules = [element(1, P) || P <- Batch],
    case switch_together(Batch, Options) of
        {ok, Us} ->
            Learnt = learnt(Costs, length(Batch), Us),
            Next = next_size(Size, Learnt, maps:get(max_stall_us, Options)),
            batches(Rest, Next, counted(Modules, Us, Counts, Tell), Learnt, Options, Tell);
        {error, Text} ->
            {not_done, load_failed, Text, maps:get(switched, Counts)}
    end.

%% The first switch, of a single module, shows the cost of its own; each later one that of a module, of which
%% the dearest is forgotten slowly: what was dear once is dear again.
learnt(none, 1, Us) ->
    {Us, 1};
learnt({BaseUs, ModuleUs}, Count, Us) ->
    {BaseUs, max(max(1, (Us - BaseUs) div Count), ModuleUs * 9 div 10)}.

next_size(1, _, _) ->
    8;
next_size(Size, {BaseUs, ModuleUs}, BudgetUs) ->
    Fitting = (BudgetUs * 4 div 10 - BaseUs) div ModuleUs,
    max(4, min(Fitting, Size * 2)).

counted(Modules, Us, Counts, Tell) ->
    #{modules := Done, batches := Batches, worst_stall_us := Worst, switched := Switched, total := Total} = Counts,
    Tell(Done + length(Modules), Total),
    Counts#{
        modules := Done + length(Modules),
        batches := Batches + 1,
        worst_stall_us := max(Worst, Us),
        switched := Modules ++ Switched
    }.

%% Prepared in portions, so that a module with on_load or a bad one is found without losing the rest.
prepared(Beams) ->
    prepared(Beams, [], []).

prepared([], Prepared, OnLoad) ->
    {ok, lists:append(lists:reverse(Prepared)), lists:reverse(OnLoad)};
prepared(Beams, Prepared, OnLoad) ->
    {Portion, Rest} = lists:split(min(64, length(Beams)), Beams),
    case code:prepare_loading(Portion) of
        {ok, {'$prepared$', Ready}} ->
            prepared(Rest, [Ready | Prepared], OnLoad);
        {error, Errors} ->
            Refused = [M || {M, on_load_not_allowed} <- Errors],
            case [E || {_, Why} = E <- Errors, Why =/= on_load_not_allowed] of
                [] ->
                    {Apart, Again} = lists:partition(
                        fun({M, _, _}) -> lists:member(M, Refused) end, Portion
                    ),
                    prepared(Again ++ Rest, Prepared, Apart ++ OnLoad);
                [{Module, Why} | _] ->
                    {not_done, load_failed, text("~ts is refused by the VM: ~tp", [Module, Why])}
            end
    end.

%% One module, read and prepared, for a switch that must be short: {ok, Ready} or {not_done, Name, Text}.
ready({Module, _, _} = File) ->
    case read([File]) of
        {ok, [Beam]} ->
            case code:is_sticky(Module) orelse prepared([Beam]) of
                true -> {ok, {alone, Beam}};
                {ok, [], [Beam]} -> {ok, {alone, Beam}};
                {ok, Prepared, []} -> {ok, {together, Prepared}};
                NotDone -> NotDone
            end;
        NotDone ->
            NotDone
    end.

%% {ok, Us} or {error, Text}. The old slot must be free. Deadline of an on_load: monotonic milliseconds.
switch({together, Prepared}, _) ->
    switch_together(Prepared, #{blocker_timeout_ms => 0, kill_blockers => false});
switch({alone, Beam}, Deadline) ->
    relup_agent_alone:load(Beam, Deadline).

switch_together(Ready, Options) ->
    Start = now_us(),
    case code:finish_loading({'$prepared$', Ready}) of
        ok ->
            {ok, now_us() - Start};
        {error, Errors} ->
            NotPurged = [M || {M, not_purged} <- Errors],
            case length(NotPurged) =:= length(Errors) andalso relup_agent_slot:clear_old(NotPurged, Options) of
                ok -> switch_together(Ready, Options);
                _ -> {error, text("the VM refuses the switch: ~tp", [lists:sublist(Errors, 5)])}
            end
    end.

%% Its processes end when they are next found in old code; nobody is killed here.
delete(Modules) ->
    Loaded = [M || M <- Modules, live(M) =/= undefined],
    [M || M <- Loaded, code:delete(M)].

%% ---------------------------------------------------------------- words

text(Format, Arguments) ->
    Text = lists:flatten(io_lib:format(Format, Arguments)),
    unicode:characters_to_binary(lists:sublist(Text, 2000)).

hex(Md5) ->
    [io_lib:format("~2.16.0b", [B]) || <<B>> <= Md5].

now_us() ->
    erlang:monotonic_time(microsecond).
