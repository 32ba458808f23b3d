%% The truth about each process under change, outside every process: who was asked what, and what was answered.
%%
%% One row of atomics per process, numbered from 1: motion, shape, what it owes, since when it is suspended,
%% how long it was. The hand writes it before it asks (relup_agent_asking), the keeper when it is answered
%% (relup_agent_answers), so that any later hand goes on from there; no death takes it along, and it costs no
%% copying. What fails or dies is written into the section's record: {{failed, N}, Why} {{hung, N}, true}
%% {{ended, N}, Reason}.

-module(relup_agent_rows).

-export([new/3, more/3, of_keeper/0, count/1, users/1, pids/1, pid/2, numbers/2, named/2, section/1]).
-export([those/2, in_motion/2, in_motion/3, moving/2, moving/3, still/2, is_shape/3, is_gone/2]).
-export([debt/2, owes_change/2, pending/1, failed/0, hung/0, pause_times/1]).
-export([move/3, reshape/3, pause_begins/2, pause_ends/2, owe/3, owe_instead/3, paid/2]).

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

debt(0) -> nothing;
debt(1) -> suspend;
debt(2) -> change;
debt(3) -> down;
debt(4) -> resume.

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

%% The rows with more processes in them, and their numbers; `full` without room. The cells are the same.
more(Pids, Shape, #rows{pids = Before, cells = Cells} = Rows) ->
    Numbers = lists:seq(tuple_size(Before) + 1, tuple_size(Before) + length(Pids)),
    case cell(lists:last(Numbers), columns()) =< maps:get(size, atomics:info(Cells)) of
        true ->
            More = Rows#rows{pids = list_to_tuple(tuple_to_list(Before) ++ Pids)},
            [set(N, shape(), shape(Shape), More) || N <- Numbers],
            relup_agent_section:write(rows, More),
            {More, Numbers};
        false ->
            full
    end.

%% The rows as the keeper holds them: the same cells, and none of the pids, which a garbage collector would have
%% to move again and again. They stay the same while processes are added.
of_keeper() ->
    (relup_agent_section:value(rows))#rows{pids = {}, sorted = 0, still = []}.

section(#rows{section = Section}) ->
    Section.

%% How many have a state that changes.
users(#rows{still = Still} = Rows) ->
    count(Rows) - length(Still).

count(#rows{pids = Pids}) ->
    tuple_size(Pids).

%% Pids by number; a death is no reason to leave one out.
pids(#rows{pids = Pids}) ->
    Pids.

pid(N, #rows{pids = Pids}) ->
    element(N, Pids).

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

%% The first ten of them, for people.
named(Numbers, #rows{pids = Pids}) ->
    First = [element(N, Pids) || N <- lists:sublist(Numbers, 10)],
    lists:join("; ", [[pid_to_list(Pid), " ", relup_agent_walk:name(Pid)] || Pid <- First]).

%% The numbers of those in one of the motions who only stand still: a few, looked for while all others wait.
still(Motions, #rows{still = Still} = Rows) ->
    lists:filter(in_motion(Motions, Rows), Still).

%% The numbers of the processes in a motion, and in a shape.
moving(Motion, Rows) ->
    those(in_motion([Motion], Rows), Rows).

moving(Motion, Shape, Rows) ->
    those(in_motion([Motion], Shape, Rows), Rows).

in_motion(Motions, Rows) ->
    Wanted = [motion(Motion) || Motion <- Motions],
    fun(N) -> lists:member(get(N, motion(), Rows), Wanted) end.

in_motion(Motions, Shape, Rows) ->
    IsInMotion = in_motion(Motions, Rows),
    fun(N) -> IsInMotion(N) andalso is_shape(N, Shape, Rows) end.

%% The numbers of which Is is true.
those(Is, Rows) ->
    those(count(Rows), Is, []).

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
    Alive = those(fun(N) -> not is_gone(N, Rows) andalso not is_shape(N, still, Rows) end, Rows),
    lists:reverse(lists:sort([{get(N, paused(), Rows), N} || N <- Alive])).

%% ---------------------------------------------------------------- writing

%% The hand may learn of a death before the last answer of the dead is read by the keeper: nothing moves them again.
move(N, Motion, #rows{cells = Cells} = Rows) ->
    Before = get(N, motion(), Rows),
    Before =:= motion(gone) orelse
        atomics:compare_exchange(Cells, cell(N, motion()), Before, motion(Motion)) =:= ok orelse
        move(N, Motion, Rows).

reshape(N, Shape, Rows) ->
    set(N, shape(), shape(Shape), Rows).

pause_begins(N, Rows) ->
    set(N, since(), erlang:monotonic_time(microsecond), Rows).

pause_ends(N, Rows) ->
    case get(N, since(), Rows) of
        0 ->
            ok;
        Since ->
            Us = erlang:monotonic_time(microsecond) - Since,
            set(N, paused(), max(Us, get(N, paused(), Rows)), Rows),
            set(N, since(), 0, Rows)
    end.

%% ---------------------------------------------------------------- what is owed

debt(N, Rows) ->
    debt(get(N, owed(), Rows)).

owes_change(N, Rows) ->
    lists:member(debt(N, Rows), [change, down]).

%% How many owe an answer.
pending(Rows) ->
    pending(0, Rows).

%% Who owes an older answer still pays once.
owe(N, What, #rows{cells = Cells} = Rows) ->
    case atomics:exchange(Cells, cell(N, owed()), owed(What)) of
        0 -> pending(1, Rows);
        _ -> ok
    end.

%% What it owes for what it has just paid.
owe_instead(N, What, Rows) ->
    set(N, owed(), owed(What), Rows).

%% `paid` when the hand should look, else `nothing`.
paid(N, #rows{cells = Cells} = Rows) ->
    case atomics:exchange(Cells, cell(N, owed()), owed(nothing)) of
        0 -> nothing;
        _ -> news(pending(-1, Rows))
    end.

%% The hand is woken now and then, and by the last answer.
news(Left) when Left =< 0; Left rem 16 =:= 0 -> paid;
news(_) -> nothing.

pending(Change, #rows{cells = Cells}) ->
    atomics:add_get(Cells, 1, Change).

%% ---------------------------------------------------------------- cells

get(N, Column, #rows{cells = Cells}) ->
    atomics:get(Cells, cell(N, Column)).

set(N, Column, Value, #rows{cells = Cells}) ->
    atomics:put(Cells, cell(N, Column), Value).

cell(N, Column) ->
    1 + (N - 1) * columns() + Column.
