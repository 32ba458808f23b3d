%% The keeper's part of a change: what the answer of a process makes true in the rows.

-module(relup_agent_answers).

-export([record/5, ask_again/0]).

%% What an answer makes true. Whoever has changed is resumed at once where resuming waits for nobody else.
%% `paid` when the hand should look, else `nothing`.
record(suspend, N, _, _, Rows) ->
    relup_agent_rows:pause_begins(N, Rows),
    relup_agent_rows:move(N, suspended, Rows),
    relup_agent_rows:paid(N, Rows);
record(resume, N, _, _, Rows) ->
    relup_agent_rows:pause_ends(N, Rows),
    relup_agent_rows:move(N, running, Rows),
    relup_agent_rows:paid(N, Rows);
record(change, N, Pid, ok, Rows) ->
    relup_agent_rows:reshape(N, new, Rows),
    case relup_agent_section:value(pipelined) of
        true ->
            relup_agent_rows:move(N, resuming, Rows),
            relup_agent_rows:owe_instead(N, resume, Rows),
            relup_agent_asking:send(resume, resume, N, Pid, Rows),
            nothing;
        false ->
            relup_agent_rows:paid(N, Rows)
    end;
record(down, N, _, ok, Rows) ->
    relup_agent_rows:reshape(N, old, Rows),
    relup_agent_rows:paid(N, Rows);
record(probe, N, Pid, _, Rows) ->
    relup_agent_rows:owes_change(N, Rows) andalso exit(Pid, kill),
    nothing;
record(_, N, _, Failure, Rows) ->
    ets:insert(relup_agent_record, {{failed, N}, Failure}),
    relup_agent_rows:paid(N, Rows).

%% For a new keeper: an answer sent to the dead one is lost. Behind it nobody can tell whether the state was
%% changed: whoever answers the probe and still owes the change is ended, for it fits neither code.
ask_again() ->
    case relup_agent_section:value(rows, none) of
        none -> ok;
        Rows -> [again(relup_agent_rows:debt(N, Rows), N, Rows) || N <- lists:seq(1, relup_agent_rows:count(Rows))]
    end.

again(nothing, _, _) -> ok;
again(suspend, N, Rows) -> send(suspend, suspend, N, Rows);
again(resume, N, Rows) -> send(resume, resume, N, Rows);
again(_, N, Rows) -> send(probe, relup_probe, N, Rows).

send(Question, Request, N, Rows) ->
    relup_agent_asking:send(Question, Request, N, relup_agent_rows:pid(N, Rows), Rows).
