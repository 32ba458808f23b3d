%% Guards a critical section: three processes of which any one may be killed and the section still ends.
%%
%%   hand    does the work, one order; all it knows stands in the record
%%   guard   starts another hand when the hand dies, and another keeper when the keeper dies
%%   keeper  owns the record, receives the answers of suspended processes, so that none is lost with a hand
%%
%% The record is the public table `relup_agent_record`; there is one section at a time because there is one
%% such name. Rows: {key, K} {order, O} {client, Pid} {stage, Atom} {hands, N} {report, R} {section, Ref}, and
%% what the order's own module writes. Answers come to the keeper by its name, whoever it is by then, as
%% {{relup_answer, Section, Question, N, Pid}, Reply}.

-module(relup_agent_section).

-export([start/3, open/0, value/1, value/2, write/2, members/0]).

%% ---------------------------------------------------------------- what others may ask

%% Starts the section; its end comes as {relup_ended, Key, Report} to the process registered relup_agent.
start(Key, Order, Client) ->
    Starter = self(),
    Keeper = spawn(fun() -> keep(Starter, Key, Order, Client) end),
    Ref = monitor(process, Keeper),
    receive
        {Keeper, ready} -> demonitor(Ref, [flush]), ok;
        {'DOWN', Ref, process, _, Reason} -> {error, Reason}
    end.

%% The key of the section that runs, or none.
open() ->
    case ets:whereis(relup_agent_record) of
        undefined -> none;
        _ -> value(key, none)
    end.

value(Name) ->
    [{Name, Value}] = ets:lookup(relup_agent_record, Name),
    Value.

value(Name, Default) ->
    try ets:lookup(relup_agent_record, Name) of
        [{Name, Value}] -> Value;
        [] -> Default
    catch
        error:badarg -> Default
    end.

write(Name, Value) ->
    ets:insert(relup_agent_record, {Name, Value}).

%% The three, for whoever wants to look.
members() ->
    [{Role, value(Role, undefined)} || Role <- [hand, guard, keeper]].

%% ---------------------------------------------------------------- the keeper

keep(Starter, Key, Order, Client) ->
    true = register(relup_agent_record, self()),
    ets:new(relup_agent_record, [named_table, public, set]),
    ets:insert(relup_agent_record, [
        {key, Key}, {order, Order}, {client, Client}, {stage, starting}, {hands, 0}, {section, make_ref()},
        {pipelined, false}
    ]),
    Starter ! {self(), ready},
    keeps(start_guard(spawn(fun hand/0))).

%% Answers come in crowds. Those that wait on the heap would be moved by each garbage collection, and the heap that
%% is left would be full after a few of them.
keeps(Guard) ->
    process_flag(message_queue_data, off_heap),
    process_flag(min_heap_size, 16384),
    write(keeper, self()),
    keeping(value(section), none, Guard, none).

keeping(Section, Hand, Guard, Rows) ->
    receive
        {{relup_answer, Section, Question, N, Pid}, Reply} ->
            Known = known(Rows),
            tell(relup_agent_answers:record(Question, N, Pid, Reply, Known), Hand),
            keeping(Section, Hand, Guard, Known);
        {relup_hand, New} ->
            New ! {accepted, self()},
            keeping(Section, New, Guard, Rows);
        relup_closed ->
            close();
        {'DOWN', Guard, process, _, _} ->
            keeping(Section, Hand, start_guard(value(hand, Hand)), Rows);
        _ ->
            keeping(Section, Hand, Guard, Rows)
    end.

%% There are rows by the time of the first answer.
known(none) -> relup_agent_rows:of_keeper();
known(Rows) -> Rows.

tell(paid, Hand) when is_pid(Hand) -> Hand ! paid;
tell(_, _) -> ok.

%% The name and the table go first: whoever hears of the end may start the next section at once.
close() ->
    Ended = {relup_ended, value(key), value(report)},
    catch unregister(relup_agent_record),
    ets:delete(relup_agent_record),
    catch relup_agent ! Ended,
    ok.

%% Takes over the record. Answers that the dead keeper had not written down are lost, so all who owe one are
%% asked again.
succeed() ->
    receive
        {'ETS-TRANSFER', _, _, adopted} -> ok
    end,
    true = register(relup_agent_record, self()),
    ets:setopts(relup_agent_record, {heir, value(guard), kept}),
    write(keeper, self()),
    case value(report, none) of
        none ->
            relup_agent_answers:ask_again(),
            keeping(value(section), value(hand, none), monitor(process, value(guard)), none);
        _ ->
            close()
    end.

%% ---------------------------------------------------------------- the guard

start_guard(Hand) ->
    Keeper = self(),
    Guard = spawn(fun() -> guard(Keeper, Hand) end),
    write(guard, Guard),
    ets:setopts(relup_agent_record, {heir, Guard, kept}),
    monitor(process, Guard).

guard(Keeper, Hand) ->
    guarding(monitor(process, Keeper), monitor(process, Hand)).

guarding(Keeper, Hand) ->
    receive
        {'DOWN', Hand, process, _, normal} ->
            guarding(Keeper, none);
        {'DOWN', Hand, process, _, _} ->
            {_, Next} = spawn_monitor(fun hand/0),
            guarding(Keeper, Next);
        {'ETS-TRANSFER', Table, _, kept} ->
            demonitor(Keeper, [flush]),
            case value(report, none) of
                none ->
                    {New, Ref} = spawn_monitor(fun succeed/0),
                    ets:give_away(Table, New, adopted),
                    guarding(Ref, Hand);
                _ ->
                    close()
            end;
        {'DOWN', Keeper, process, _, normal} ->
            ok;
        {'DOWN', Keeper, process, _, _} ->
            ets:whereis(relup_agent_record) =/= undefined andalso guarding(Keeper, Hand)
    end.

%% ---------------------------------------------------------------- the hand

hand() ->
    case open() of
        none -> ok;
        _ -> hand(value(report, none), ets:update_counter(relup_agent_record, hands, 1))
    end.

hand(none, Nth) ->
    write(hand, self()),
    announce(),
    Nth =:= 1 andalso relup_agent_witness:watch(),
    finish(work(value(order), Nth));
hand(_, _) ->
    catch relup_agent_record ! relup_closed.

%% A keeper may die with it unread: its successor hears of this hand by another try.
announce() ->
    catch relup_agent_record ! {relup_hand, self()},
    receive
        {accepted, _} -> ok
    after 50 -> announce()
    end.

work(Order, Nth) when Nth =< 5 ->
    try
        relup_agent_order:run(Order, Nth)
    catch
        Class:Reason:Stack ->
            Text = relup_agent_load:text("~0p:~0p at ~0p", [Class, Reason, lists:sublist(Stack, 4)]),
            raised(Text, value(rows, none))
    end;
work(Order, Nth) ->
    Died = relup_agent_load:text("~w processes of the agent died at it, stage ~0p", [Nth - 1, value(stage)]),
    failed([Died | [["; the last one that raised: ", Text] || Text <- [value(raised, none)], Text =/= none]],
        relup_agent_order:give_up(Order)).

%% Nobody is suspended without rows. Else the hand ends as if it had been killed, and the next one goes on from
%% the record.
raised(Text, none) ->
    failed(Text, []);
raised(Text, _) ->
    write(raised, Text),
    exit(raised).

failed(Text, Ended) ->
    {not_done, #{
        name => agent_failed,
        detail => unicode:characters_to_binary(Text),
        reverted => false,
        ended => Ended
    }}.

%% Whoever was killed for the step is told, however it ended, and so is each connection that ended meanwhile or since
%% the step before. Who is among both is told once, in the words of the step's own work.
finish({Verdict, Report}) ->
    Own = relup_agent_slot:killed() ++ maps:get(ended, Report, []),
    Witnessed = relup_agent_witness:ended(),
    write(report, {Verdict, Report#{ended => lists:ukeymerge(1, lists:ukeysort(1, Own), lists:keysort(1, Witnessed))}}),
    relup_agent_witness:told(Witnessed),
    catch relup_agent_record ! relup_closed.
