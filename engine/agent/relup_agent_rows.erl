%% The truth about each process under change, outside every process: who was asked what, and what was answered.
%%
%% One row of atomics per process, numbered from 1: motion, shape, what it owes, since when it is suspended,
%% how long it was. A row is written before the message that makes it true is sent, and by the keeper when it
%% is answered, so that any later hand goes on from there; no death takes it along, and it costs no copying.
%% What fails or dies is written into the section's record: {{failed, N}, Why} {{hung, N}, true}
%% {{ended, N}, Reason}.

-module(relup_agent_rows).

-export([new/3, more/3, watch/1, users/1, pids/1, named/2]).
-export([ask/4, ask_moving/4, ask_moving/6, ask_change/4, settle/2, settle_until/2, excuse/2, mourn/1]).
-export([of_keeper/0, record/5, ask_again/0]).
-export([moving/2, moving/3, still/2, is_shape/3, failed/0, hung/0, pause_times/1, stop_hung/2, kill/2]).

%% Pids: the first `sorted` of them are in order; behind them who was born later.
-record(rows, {pids, sorted, still, cells, section}).

%% Columns of a row, and the words for what stands in them.
motion() -> 1.
shape() -> 2.
owed() -> 3.
since() -> 4.
paused() -> 5.
columns() -> 5.

motion(running) -> 0;
motion(suspending) -> 1;
motion(suspended) -> 2;
motion(resuming) -> 3;
motion(gone) -> 4.

%% `still`: one that only stands still meanwhile, and holds no state that changes.
shape(old) -> 0;
shape(new) -> 1;
shape(still) -> 2.

owed(nothing) -> 0;
owed(suspend) -> 1;
owed(change) -> 2;
owed(down) -> 3;
owed(resume) -> 4.

%% ---------------------------------------------------------------- making and looking

%% Users have a shape; the others only stand still. There is room for as many again who are born meanwhile.
new(Users, Shape, Others) ->
    Sorted = lists:sort([{Pid, Shape} || Pid <- Users] ++ [{Pid, still} || Pid <- Others]),
    Count = length(Sorted),
    Rows = #rows{
        pids = list_to_tuple([Pid || {Pid, _} <- Sorted]),
        sorted = Count,
        still = [N || {N, {_, still}} <- lists:zip(lists:seq(1, Count), Sorted)],
        cells = atomics:new(1 + columns() * (2 * Count + 1000), []),
        section = relup_agent_section:value(section)
    },
    [set(N, shape(), shape(Has), Rows) || {N, {_, Has}} <- lists:zip(lists:seq(1, Count), Sorted)],
    relup_agent_section:write(rows, Rows),
    Rows.

%% The rows with more processes in them, watched as the others are, and their numbers; `full` without room.
%% Whoever holds the rows from before learns by a number that is not among them that there are new ones.
more(Pids, Shape, #rows{pids = Before, cells = Cells} = Rows) ->
    Numbers = lists:seq(tuple_size(Before) + 1, tuple_size(Before) + length(Pids)),
    case cell(lists:last(Numbers), columns()) =< maps:get(size, atomics:info(Cells)) of
        true ->
            More = Rows#rows{pids = list_to_tuple(tuple_to_list(Before) ++ Pids)},
            [set(N, shape(), shape(Shape), More) || N <- Numbers],
            relup_agent_section:write(rows, More),
            [monitor(process, Pid) || Pid <- Pids],
            {More, Numbers};
        false ->
            full
    end.

%% This process is told of every death among them.
watch(#rows{pids = Pids}) ->
    [monitor(process, Pid) || Pid <- tuple_to_list(Pids)],
    ok.

%% How many have a state that changes.
users(#rows{still = Still} = Rows) ->
    count(Rows) - length(Still).

count(#rows{pids = Pids}) ->
    tuple_size(Pids).

%% Pids by number; a death is no reason to leave one out.
pids(#rows{pids = Pids}) ->
    Pids.

%% The first ten of them, for people.
named(Numbers, #rows{pids = Pids}) ->
    First = [element(N, Pids) || N <- lists:sublist(Numbers, 10)],
    lists:join("; ", [[pid_to_list(Pid), " ", relup_agent_walk:name(Pid)] || Pid <- First]).

%% The numbers of those in one of the motions who only stand still: a few, looked for while all others wait.
still(Motions, #rows{still = Still} = Rows) ->
    lists:filter(in_motion(Motions, Rows), Still).

%% The numbers of the processes in a motion, and in a shape.
moving(Motion, Rows) ->
    those(count(Rows), in_motion([Motion], Rows), []).

moving(Motion, Shape, Rows) ->
    those(count(Rows), in_motion([Motion], Shape, Rows), []).

in_motion(Motions, Rows) ->
    Wanted = [motion(Motion) || Motion <- Motions],
    fun(N) -> lists:member(get(N, motion(), Rows), Wanted) end.

in_motion(Motions, Shape, Rows) ->
    IsInMotion = in_motion(Motions, Rows),
    fun(N) -> IsInMotion(N) andalso is_shape(N, Shape, Rows) end.

those(0, _, Found) ->
    Found;
those(N, Is, Found) ->
    case Is(N) of
        true -> those(N - 1, Is, [N | Found]);
        false -> those(N - 1, Is, Found)
    end.

is_shape(N, Shape, Rows) ->
    get(N, shape(), Rows) =:= shape(Shape).

is_gone(N, Rows) ->
    get(N, motion(), Rows) =:= motion(gone).

failed() ->
    [N || [N] <- ets:match(relup_agent_record, {{failed, '$1'}, '_'})].

hung() ->
    [N || [N] <- ets:match(relup_agent_record, {{hung, '$1'}, '_'})].

%% [{Us, N}], the longest first, of those that live and have a state that changes.
pause_times(Rows) ->
    Alive = those(count(Rows), fun(N) -> not is_gone(N, Rows) andalso not is_shape(N, still, Rows) end, []),
    lists:reverse(lists:sort([{get(N, paused(), Rows), N} || N <- Alive])).

%% ---------------------------------------------------------------- asking and waiting

%% Asks a few, in portions: the next one as soon as half of the last has answered, so that a process is done with
%% while it is in the caches; but nobody waits long for those who are busy.
ask(_, _, [], _) ->
    ok;
ask(Question, Request, Numbers, Rows) ->
    {Portion, Rest} = lists:split(min(portion(), length(Numbers)), Numbers),
    Before = pending(0, Rows),
    [ask_one(Question, Request, N, Rows) || N <- Portion],
    half_answered(Before + portion() div 2, infinity, Rows),
    ask(Question, Request, Rest, Rows).

%% Asks all in one of these motions, and in this shape, in such portions. They are looked for as it goes: a list of
%% all of them would be made, and moved by the garbage collector, while they stand still. Behind the deadline
%% (monotonic milliseconds) nothing is waited for any more.
ask_moving(Question, Request, Motions, Rows) ->
    ask_from(1, Question, Request, in_motion(Motions, Rows), infinity, Rows).

ask_moving(Question, Request, Motions, Shape, Deadline, Rows) ->
    ask_from(1, Question, Request, in_motion(Motions, Shape, Rows), Deadline, Rows).

%% Asks all suspended ones in this shape to change it, but those who failed in it or were asked already.
ask_change(Question, Request, Shape, Rows) ->
    Failed = maps:from_list([{N, true} || N <- failed()]),
    IsInShape = in_motion([suspended], Shape, Rows),
    Is = fun(N) -> IsInShape(N) andalso not owes_change(N, Rows) andalso not is_map_key(N, Failed) end,
    ask_from(1, Question, Request, Is, infinity, Rows).

ask_from(N, Question, Request, Is, Deadline, Rows) ->
    case N =< count(Rows) of
        true ->
            Before = pending(0, Rows),
            Next = ask_some(portion(), N, Question, Request, Is, Rows),
            half_answered(Before + portion() div 2, Deadline, Rows),
            ask_from(Next, Question, Request, Is, Deadline, Rows);
        false ->
            ok
    end.

portion() -> 64.

%% Gives the number after the last one looked at.
ask_some(Left, N, Question, Request, Is, Rows) ->
    case Left > 0 andalso N =< count(Rows) of
        true ->
            case Is(N) of
                true ->
                    ask_one(Question, Request, N, Rows),
                    ask_some(Left - 1, N + 1, Question, Request, Is, Rows);
                false ->
                    ask_some(Left, N + 1, Question, Request, Is, Rows)
            end;
        false ->
            N
    end.

%% Writes down what is asked, then asks. Who owes an older answer still pays once.
ask_one(Question, Request, N, #rows{pids = Pids} = Rows) ->
    asked(Question, N, Rows),
    owes(N, owed(Question), Rows),
    send(Question, Request, N, element(N, Pids), Rows).

half_answered(Pending, Deadline, Rows) ->
    case pending(0, Rows) =< Pending of
        true ->
            ok;
        false ->
            receive
                paid -> half_answered(Pending, Deadline, Rows)
            after min(2, left_ms(Deadline)) -> ok
            end
    end.

left_ms(infinity) -> 2;
left_ms(Deadline) -> max(0, Deadline - erlang:monotonic_time(millisecond)).

owes_change(N, Rows) ->
    lists:member(get(N, owed(), Rows), [owed(change), owed(down)]).

owes(N, Owed, #rows{cells = Cells} = Rows) ->
    case atomics:exchange(Cells, cell(N, owed()), Owed) of
        0 -> pending(1, Rows);
        _ -> ok
    end.

asked(suspend, N, Rows) -> set(N, motion(), motion(suspending), Rows);
asked(resume, N, Rows) -> set(N, motion(), motion(resuming), Rows);
asked(_, _, _) -> ok.

%% The answer names the process too, so that the keeper need not hold them all.
send(Question, Request, N, Pid, #rows{section = Section}) ->
    Pid ! {system, {relup_agent_record, {relup_answer, Section, Question, N, Pid}}, Request}.

%% Waits until nothing is owed or the time is over; gives the numbers of those who still owe.
settle(TimeoutMs, Rows) ->
    settle_until(erlang:monotonic_time(millisecond) + TimeoutMs, Rows).

settle_until(Deadline, Rows) ->
    case pending(0, Rows) of
        Left when Left =< 0 ->
            [];
        _ ->
            receive
                paid ->
                    settle_until(Deadline, Rows);
                {'DOWN', _, process, Pid, Reason} ->
                    [gone(N, Reason, Rows) || N <- numbers(Pid, Rows)],
                    settle_until(Deadline, Rows)
            after left_ms(Deadline) ->
                those(count(Rows), fun(N) -> get(N, owed(), Rows) =/= owed(nothing) end, [])
            end
    end.

%% The deaths that are known by now and were not waited for.
mourn(Rows) ->
    receive
        {'DOWN', _, process, Pid, Reason} ->
            [gone(N, Reason, Rows) || N <- numbers(Pid, Rows)],
            mourn(Rows)
    after 0 -> ok
    end.

%% Nobody waits for what these owe.
excuse(Numbers, Rows) ->
    [paid(N, Rows) || N <- Numbers].

%% The number of a process, or none. A search keeps no table of all processes, which would have to be moved by
%% the garbage collector while they stand still.
numbers(Pid, #rows{sorted = Sorted} = Rows) ->
    number(Pid, 1, Sorted, Rows).

number(Pid, Low, High, #rows{pids = Pids} = Rows) when Low =< High ->
    Middle = (Low + High) div 2,
    case element(Middle, Pids) of
        Pid -> [Middle];
        Less when Less < Pid -> number(Pid, Middle + 1, High, Rows);
        _ -> number(Pid, Low, Middle - 1, Rows)
    end;
number(Pid, _, _, #rows{pids = Pids, sorted = Sorted} = Rows) ->
    [N || N <- lists:seq(Sorted + 1, count(Rows)), element(N, Pids) =:= Pid].

%% Who was gone before it was watched, and had been asked nothing, left by itself. Of whom the death is written
%% down, a later hand hears only that it is no process.
gone(N, Reason, Rows) ->
    Before = get(N, motion(), Rows),
    set(N, motion(), motion(gone), Rows),
    Before =:= motion(gone) orelse
        (Reason =:= noproc andalso Before =:= motion(running)) orelse
        ets:insert(relup_agent_record, {{ended, N}, relup_agent_load:text("~tP", [Reason, 20])}),
    paid(N, Rows).

%% A process that does not come back from its code_change can be resumed in neither code.
stop_hung(Left, Rows) ->
    Hung = [N || N <- Left, owes_change(N, Rows)],
    ets:insert(relup_agent_record, [{{hung, N}, true} || N <- Hung]),
    kill(Hung, Rows).

%% Ends them and waits until they are gone.
kill(Numbers, #rows{pids = Pids} = Rows) ->
    Alive = [N || N <- Numbers, not is_gone(N, Rows)],
    [
        begin
            owes(N, owed(resume), Rows),
            exit(element(N, Pids), kill)
        end
     || N <- Alive
    ],
    Alive =:= [] orelse settle(5000, Rows),
    ok.

%% ---------------------------------------------------------------- the keeper's part

%% The rows as the keeper holds them: the same cells, and none of the pids, which a garbage collector would have
%% to move again and again. They stay the same while processes are added.
of_keeper() ->
    (relup_agent_section:value(rows))#rows{pids = {}, sorted = 0, still = []}.

%% What an answer makes true. Whoever has changed is resumed at once where resuming waits for nobody else.
%% `paid` when the hand should look, else `nothing`.
record(suspend, N, _, _, Rows) ->
    set(N, since(), erlang:monotonic_time(microsecond), Rows),
    move(N, motion(suspended), Rows),
    paid(N, Rows);
record(resume, N, _, _, Rows) ->
    measure(get(N, since(), Rows), N, Rows),
    move(N, motion(running), Rows),
    paid(N, Rows);
record(change, N, Pid, ok, Rows) ->
    set(N, shape(), shape(new), Rows),
    case relup_agent_section:value(pipelined) of
        true ->
            move(N, motion(resuming), Rows),
            set(N, owed(), owed(resume), Rows),
            send(resume, resume, N, Pid, Rows),
            nothing;
        false ->
            paid(N, Rows)
    end;
record(down, N, _, ok, Rows) ->
    set(N, shape(), shape(old), Rows),
    paid(N, Rows);
record(probe, N, Pid, _, Rows) ->
    owes_change(N, Rows) andalso exit(Pid, kill),
    nothing;
record(_, N, _, Failure, Rows) ->
    ets:insert(relup_agent_record, {{failed, N}, Failure}),
    paid(N, Rows).

%% The hand may learn of a death before the last answer of the dead is read here: nothing moves them again.
move(N, Motion, #rows{cells = Cells} = Rows) ->
    Before = get(N, motion(), Rows),
    Before =:= motion(gone) orelse
        atomics:compare_exchange(Cells, cell(N, motion()), Before, Motion) =:= ok orelse
        move(N, Motion, Rows).

measure(0, _, _) ->
    ok;
measure(Since, N, Rows) ->
    Us = erlang:monotonic_time(microsecond) - Since,
    set(N, paused(), max(Us, get(N, paused(), Rows)), Rows),
    set(N, since(), 0, Rows).

%% For a new keeper: an answer sent to the dead one is lost. Behind it nobody can tell whether the state was
%% changed: whoever answers the probe and still owes the change is ended, for it fits neither code.
ask_again() ->
    case relup_agent_section:value(rows, none) of
        none ->
            ok;
        #rows{pids = Pids} = Rows ->
            [again(get(N, owed(), Rows), N, element(N, Pids), Rows) || N <- lists:seq(1, count(Rows))]
    end.

again(0, _, _, _) -> ok;
again(1, N, Pid, Rows) -> send(suspend, suspend, N, Pid, Rows);
again(4, N, Pid, Rows) -> send(resume, resume, N, Pid, Rows);
again(_, N, Pid, Rows) -> send(probe, relup_probe, N, Pid, Rows).

%% ---------------------------------------------------------------- cells

paid(N, #rows{cells = Cells} = Rows) ->
    case atomics:exchange(Cells, cell(N, owed()), owed(nothing)) of
        0 -> nothing;
        _ -> news(pending(-1, Rows))
    end.

%% The hand is woken now and then, and by the last answer.
news(Left) when Left =< 0; Left rem 16 =:= 0 -> paid;
news(_) -> nothing.

%% How many owe an answer, after adding Change.
pending(Change, #rows{cells = Cells}) ->
    atomics:add_get(Cells, 1, Change).

get(N, Column, #rows{cells = Cells}) ->
    atomics:get(Cells, cell(N, Column)).

set(N, Column, Value, #rows{cells = Cells}) ->
    atomics:put(Cells, cell(N, Column), Value).

cell(N, Column) ->
    1 + (N - 1) * columns() + Column.
