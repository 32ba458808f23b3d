%% How an update ended, told from the rows and the section's record.

-module(relup_agent_outcome).

-export([report/2, untouched/2, ended/1, failure_text/1]).

%% The verdict `done` or {not_done, Name, Text, Reverted} as a report.
report(done, #{rows := Rows} = Order) ->
    Pids = relup_agent_rows:pids(Rows),
    Paused = relup_agent_rows:pause_times(Rows),
    {done, #{
        modules => 1,
        batches => 1,
        worst_stall_us => relup_agent_section:value(stall_us, 0),
        processes => length(Paused),
        worst_suspend_us => lists:max([0 | [Us || {Us, _} <- lists:sublist(Paused, 1)]]),
        slowest => [
            {list_to_binary(pid_to_list(element(N, Pids))), relup_agent_walk:name(element(N, Pids)), Us}
         || {Us, N} <- lists:sublist(Paused, 10)
        ],
        ended => ended(Order),
        notes => relup_agent_section:value(notes, []) ++ relup_agent_users:missed(relup_agent_newcomers:missed(Order))
    }};
report({not_done, Name, Text, Reverted}, Order) ->
    {not_done, #{name => Name, detail => Text, reverted => Reverted, ended => ended(Order)}}.

untouched(Name, Text) ->
    {not_done, #{name => Name, detail => Text, reverted => true}}.

%% [{PidText, Name, Reason, ClientId}] of those who died on the way.
ended(#{module := {Module, _, _}, rows := Rows}) ->
    Pids = relup_agent_rows:pids(Rows),
    Died = [
        {element(N, Pids), Reason, role(relup_agent_rows:is_shape(N, still, Rows), Module)}
     || [N, Reason] <- ets:match(relup_agent_record, {{ended, '$1'}, '$2'})
    ],
    Clients = relup_agent_witness:clients([Pid || {Pid, _, _} <- Died]),
    [
        {list_to_binary(pid_to_list(Pid)), Role, Reason, maps:get(Pid, Clients, undefined)}
     || {Pid, Reason, Role} <- Died
    ].

role(true, _) -> <<"supervisor">>;
role(false, Module) -> atom_to_binary(Module, utf8).

failure_text(#{rows := Rows}) ->
    Pids = relup_agent_rows:pids(Rows),
    Failures = ets:match(relup_agent_record, {{failed, '$1'}, '$2'}),
    Hung = relup_agent_rows:hung(),
    Shown =
        [io_lib:format("~0p: ~0tP", [element(N, Pids), Why, 30]) || [N, Why] <- lists:sublist(Failures, 3)] ++
            [io_lib:format("~0p: did not come back", [element(N, Pids)]) || N <- lists:sublist(Hung, 3)],
    relup_agent_load:text("~w processes failed in code_change: ~ts", [
        length(Failures) + length(Hung), lists:join("; ", Shown)
    ]).
