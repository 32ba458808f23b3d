%% Finds who was born after the users of a module were listed, and stops them before its code is switched.
%%
%% Those who start users stand still (`still` in the rows) from the last look until the switch, so that nobody
%% comes between; one that is busy is not waited for. Looking costs one list of all processes. A newcomer is
%% known by what proc_lib writes down: it runs the module's `init`. Its suspension comes after its init, whose
%% code is then the code that is live.

-module(relup_agent_newcomers).

-export([look/0, stop/3, release/1, missed/1]).

look() ->
    lists:sort(processes()).

%% {ok, Order} when all who were born since its `known` are suspended and in its rows with this shape, or
%% {late, Text, Order}. Deadline: monotonic milliseconds.
stop(Shape, Deadline, #{rows := Rows} = Order) ->
    hold(Rows),
    rounds(20, Shape, Deadline, Order#{known => known(Order)}).

%% A hand that takes over knows those in the rows and the strays only.
known(#{known := Known}) ->
    Known;
known(#{rows := Rows}) ->
    lists:usort(tuple_to_list(relup_agent_rows:pids(Rows)) ++ relup_agent_section:value(strays, [])).

hold(Rows) ->
    Parents = relup_agent_rows:still([running], Rows),
    relup_agent_asking:ask(suspend, suspend, Parents, Rows),
    relup_agent_asking:settle(200, Rows),
    relup_agent_asking:excuse(Parents, Rows).

%% Nobody waits for them: one that is busy reads it later.
release(Rows) ->
    Parents = relup_agent_rows:still([suspended, suspending], Rows),
    relup_agent_asking:ask(resume, resume, Parents, Rows),
    relup_agent_asking:excuse(Parents, Rows).

rounds(0, _, _, Order) ->
    {ok, Order};
rounds(Tries, Shape, Deadline, #{known := Known, module := {Module, _, _}} = Order) ->
    Now = look(),
    Births = [{relup_agent_walk:birth(Pid), Pid} || Pid <- ordsets:subtract(Now, Known)],
    Unborn = [Pid || {unborn, Pid} <- Births],
    Seen = Order#{known := ordsets:subtract(Now, Unborn)},
    case {[Pid || {Born, Pid} <- Births, Born =:= Module], Unborn} of
        {[], []} -> {ok, Seen};
        {[], _} -> receive after 1 -> rounds(Tries - 1, Shape, Deadline, Seen) end;
        {Newcomers, _} -> join(Newcomers, Tries, Shape, Deadline, Seen)
    end.

join(Newcomers, Tries, Shape, Deadline, #{rows := Rows} = Order) ->
    case relup_agent_rows:more(Newcomers, Shape, Rows) of
        {More, Numbers} ->
            relup_agent_asking:watch_these(Newcomers),
            relup_agent_asking:ask(suspend, suspend, Numbers, More),
            case relup_agent_asking:settle_until(Deadline, More) of
                [] -> rounds(Tries - 1, Shape, Deadline, Order#{rows := More});
                Left -> {late, text(Left, More), Order#{rows := More}}
            end;
        full ->
            {late, <<"more processes were started meanwhile than there had been">>, Order}
    end.

text(Left, Rows) ->
    relup_agent_load:text("~w processes that were started meanwhile did not stop in time: ~ts", [
        length(Left), relup_agent_rows:named(Left, Rows)
    ]).

%% Those born between the last look and the switch all the same, by somebody who did not stand still.
missed(#{known := Known, after_switch := Now, module := {Module, _, _}}) ->
    [Pid || Pid <- ordsets:subtract(lists:sort(Now), Known), relup_agent_walk:birth(Pid) =:= Module];
missed(_) ->
    [].
