%% The hand's part of a change: asks processes, waits for what they owe, hears of their deaths.
%%
%% What is asked is written into the rows before the message is sent. The answers go to the keeper
%% (relup_agent_answers), which says `paid` when the hand should look at the rows again.

-module(relup_agent_asking).

-export([ask/4, ask_moving/4, ask_moving/6, ask_change/5, send/5, settle/2, settle_until/2, excuse/2]).
-export([watch/1, watch_these/1, mourn/1, stop_hung/2, kill/2]).

%% ---------------------------------------------------------------- asking

%% Asks a few, in portions: the next one as soon as half of the last has answered, so that a process is done with
%% while it is in the caches; but nobody waits long for those who are busy.
ask(_, _, [], _) ->
    ok;
ask(Question, Request, Numbers, Rows) ->
    {Portion, Rest} = lists:split(min(portion(), length(Numbers)), Numbers),
    Before = relup_agent_rows:pending(Rows),
    [ask_one(Question, Request, N, Rows) || N <- Portion],
    half_answered(Before + portion() div 2, infinity, Rows),
    ask(Question, Request, Rest, Rows).

%% Asks all in one of these motions, and in this shape, in such portions. They are looked for as it goes: a list of
%% all of them would be made, and moved by the garbage collector, while they stand still. Behind the deadline
%% (monotonic milliseconds) nothing is waited for any more.
ask_moving(Question, Request, Motions, Rows) ->
    ask_from(1, {Question, Request}, relup_agent_rows:in_motion(Motions, Rows), infinity, fun silent/1, Rows).

ask_moving(Question, Request, Motions, Shape, Deadline, Rows) ->
    ask_from(1, {Question, Request}, relup_agent_rows:in_motion(Motions, Shape, Rows), Deadline, fun silent/1, Rows).

%% Asks all suspended ones in this shape to change it, but those who failed in it or were asked already. Tell hears
%% how many rows are about done with.
ask_change(Question, Request, Shape, Tell, Rows) ->
    Failed = maps:from_list([{N, true} || N <- relup_agent_rows:failed()]),
    IsInShape = relup_agent_rows:in_motion([suspended], Shape, Rows),
    IsAsked = fun(N) -> relup_agent_rows:owes_change(N, Rows) orelse is_map_key(N, Failed) end,
    ask_from(1, {Question, Request}, fun(N) -> IsInShape(N) andalso not IsAsked(N) end, infinity, Tell, Rows).

silent(_) ->
    ok.

ask_from(N, What, Is, Deadline, Tell, Rows) ->
    case N =< relup_agent_rows:count(Rows) of
        true ->
            Before = relup_agent_rows:pending(Rows),
            Next = ask_some(portion(), N, What, Is, Rows),
            half_answered(Before + portion() div 2, Deadline, Rows),
            Tell(max(0, Next - 1 - portion())),
            ask_from(Next, What, Is, Deadline, Tell, Rows);
        false ->
            ok
    end.

portion() -> 64.

%% Gives the number after the last one looked at.
ask_some(Left, N, {Question, Request} = What, Is, Rows) ->
    case Left > 0 andalso N =< relup_agent_rows:count(Rows) of
        true ->
            case Is(N) of
                true ->
                    ask_one(Question, Request, N, Rows),
                    ask_some(Left - 1, N + 1, What, Is, Rows);
                false ->
                    ask_some(Left, N + 1, What, Is, Rows)
            end;
        false ->
            N
    end.

%% Writes down what is asked, then asks.
ask_one(Question, Request, N, Rows) ->
    asked(Question, N, Rows),
    relup_agent_rows:owe(N, Question, Rows),
    send(Question, Request, N, relup_agent_rows:pid(N, Rows), Rows).

half_answered(Pending, Deadline, Rows) ->
    case relup_agent_rows:pending(Rows) =< Pending of
        true ->
            ok;
        false ->
            receive
                paid -> half_answered(Pending, Deadline, Rows)
            after min(2, left_ms(Deadline)) -> ok
            end
    end.

left_ms(infinity) -> infinity;
left_ms(Deadline) -> max(0, Deadline - erlang:monotonic_time(millisecond)).

asked(suspend, N, Rows) -> relup_agent_rows:move(N, suspending, Rows);
asked(resume, N, Rows) -> relup_agent_rows:move(N, resuming, Rows);
asked(_, _, _) -> ok.

%% The answer names the process too, so that the keeper need not hold them all.
send(Question, Request, N, Pid, Rows) ->
    Tag = {relup_answer, relup_agent_rows:section(Rows), Question, N, Pid},
    Pid ! {system, {relup_agent_record, Tag}, Request}.

%% ---------------------------------------------------------------- waiting

%% Waits until nothing is owed or the time is over; gives the numbers of those who still owe.
settle(TimeoutMs, Rows) ->
    settle_until(erlang:monotonic_time(millisecond) + TimeoutMs, Rows).

settle_until(Deadline, Rows) ->
    case relup_agent_rows:pending(Rows) of
        Left when Left =< 0 ->
            [];
        _ ->
            receive
                paid ->
                    settle_until(Deadline, Rows);
                {'DOWN', _, process, Pid, Reason} ->
                    [gone(N, Reason, Rows) || N <- relup_agent_rows:numbers(Pid, Rows)],
                    settle_until(Deadline, Rows)
            after left_ms(Deadline) ->
                relup_agent_rows:those(fun(N) -> relup_agent_rows:debt(N, Rows) =/= nothing end, Rows)
            end
    end.

%% Nobody waits for what these owe.
excuse(Numbers, Rows) ->
    [relup_agent_rows:paid(N, Rows) || N <- Numbers].

%% ---------------------------------------------------------------- deaths

%% This process is told of every death among them.
watch(Rows) ->
    watch_these(tuple_to_list(relup_agent_rows:pids(Rows))).

watch_these(Pids) ->
    [monitor(process, Pid) || Pid <- Pids],
    ok.

%% The deaths that are known by now and were not waited for.
mourn(Rows) ->
    receive
        {'DOWN', _, process, Pid, Reason} ->
            [gone(N, Reason, Rows) || N <- relup_agent_rows:numbers(Pid, Rows)],
            mourn(Rows)
    after 0 -> ok
    end.

%% Who was gone before it was watched, and had been asked nothing, left by itself. Of whom the death is written
%% down, a later hand hears only that it is no process.
gone(N, Reason, Rows) ->
    IsKnown = relup_agent_rows:is_gone(N, Rows),
    IsRunning = relup_agent_rows:in_motion([running], Rows),
    LeftByItself = Reason =:= noproc andalso IsRunning(N),
    relup_agent_rows:move(N, gone, Rows),
    IsKnown orelse LeftByItself orelse
        ets:insert(relup_agent_record, {{ended, N}, relup_agent_load:text("~0tP", [Reason, 20])}),
    relup_agent_rows:paid(N, Rows).

%% A process that does not come back from its code_change can be resumed in neither code.
stop_hung(Left, Rows) ->
    Hung = [N || N <- Left, relup_agent_rows:owes_change(N, Rows)],
    ets:insert(relup_agent_record, [{{hung, N}, true} || N <- Hung]),
    kill(Hung, Rows).

%% Ends them and waits until they are gone.
kill(Numbers, Rows) ->
    Alive = [N || N <- Numbers, not relup_agent_rows:is_gone(N, Rows)],
    [
        begin
            relup_agent_rows:owe(N, resume, Rows),
            exit(relup_agent_rows:pid(N, Rows), kill)
        end
     || N <- Alive
    ],
    Alive =:= [] orelse settle(5000, Rows),
    ok.
