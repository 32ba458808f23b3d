%% Suspends a module's processes, switches the code, changes their states, resumes; and the way back.
%%
%% What each process was asked and answered stands in relup_agent_rows, the stage in the section's record; a
%% hand that takes over goes on from both. A process is resumed only when its shape fits the code that runs.

-module(relup_agent_update).

-export([run/3, give_up/2]).

%% ---------------------------------------------------------------- the order

%% Order: #{module, old, direction, vsn, extra, suspend_timeout_ms, change_timeout_ms, ...}.
run(Order, Nth, Tell) ->
    continue(relup_agent_section:value(stage), taken_up(Order, Nth, Tell)).

taken_up(Order, Nth, Tell) ->
    Rows = relup_agent_section:value(rows, none),
    Rows =:= none orelse relup_agent_asking:watch(Rows),
    Order#{nth => Nth, tell => Tell, rows => Rows}.

%% One hand after the other has died at it. Who fits the code that runs goes on in it, who does not is ended:
%% nobody stays suspended. Gives those who were ended.
give_up(Order, Tell) ->
    free(taken_up(Order, 2, Tell)).

free(#{rows := none}) ->
    [];
free(#{rows := Rows, direction := Direction, module := Target} = Order) ->
    Misfit = misfit(Direction, is_live(Target, Order)),
    pipelined(false),
    relup_agent_asking:kill(relup_agent_rows:moving(suspended, Misfit, Rows), Rows),
    resume_all(Order),
    relup_agent_outcome:ended(Order).

misfit(up, true) -> old;
misfit(up, false) -> new;
misfit(down, true) -> new;
misfit(down, false) -> old.

%% The first hand starts at `starting`; another one finds the stage its predecessor died in.
continue(Stage, Order) when Stage =:= starting; Stage =:= waiting -> start(Order);
continue(suspending, Order) ->
    back_off(Order, worker_lost, <<"the agent's worker died while processes were being suspended">>);
continue(switching, #{direction := up, module := Target} = Order) ->
    case is_live(Target, Order) of
        true -> change(Order);
        false -> back_off(Order, worker_lost, <<"the agent's worker died before the code was switched">>)
    end;
continue(changing, Order) -> change(Order);
continue(reverting, Order) -> revert(Order);
continue(unswitching, #{old := Old} = Order) ->
    case is_live(Old, Order) of
        true -> back_off(Order, code_change_failed, relup_agent_outcome:failure_text(Order));
        false -> revert(Order)
    end;
continue(forward, Order) -> forward(Order);
continue(downing, Order) -> take_down_again(Order);
continue(switching, #{direction := down, module := Target} = Order) ->
    case is_live(Target, Order) of
        true -> end_done(Order);
        false -> take_down(Order)
    end;
continue(resuming, Order) -> end_resumed(Order).

%% A switch that the dead hand asked for may still be under way.
is_live({Module, _, Md5}, Order) ->
    relup_agent_alone:settled(Module, on_load_until(Order)),
    relup_agent_load:live(Module) =:= Md5.

%% An on_load is a function of the module's author, as a code_change is, and everybody waits for it.
on_load_until(#{change_timeout_ms := Timeout}) ->
    deadline(Timeout).

%% ---------------------------------------------------------------- suspending

start(Order) ->
    stage(waiting),
    case relup_agent_readiness:reached(Order) of
        {ready, Ready} -> suspend(Ready);
        {ended, Outcome} -> Outcome
    end.

suspend(#{rows := Rows, suspend_timeout_ms := Timeout, direction := Direction} = Order) ->
    stage(suspending),
    process_flag(priority, high),
    relup_agent_asking:mourn(Rows),
    Until = deadline(Timeout),
    case suspend_all(relup_agent_users:first_shape(Direction), Until, Rows) of
        [] when Direction =:= up -> close_and_switch(Until, Order);
        [] -> take_down(Order);
        Left -> back_off(Order, suspend_timeout, late_text(Left, Timeout, Rows))
    end.

%% One deadline for all, the asking included. Gives the numbers of those who did not stop.
suspend_all(Shape, Until, Rows) ->
    relup_agent_asking:ask_moving(suspend, suspend, [running], Shape, Until, Rows),
    relup_agent_asking:settle_until(Until, Rows).

deadline(Timeout) ->
    erlang:monotonic_time(millisecond) + Timeout.

late_text(Left, Timeout, Rows) ->
    relup_agent_load:text("~w processes did not stop within ~w ms: ~ts", [
        length(Left), Timeout, relup_agent_rows:named(Left, Rows)
    ]).

%% Nothing was switched: whoever was asked to stop is resumed, a late one by the message behind the first.
back_off(Order, Name, Text) ->
    verdict({not_done, Name, Text, true}),
    end_resumed(Order).

%% ---------------------------------------------------------------- up: switch, change, resume

%% Those who were born while the others were stopped, too.
close_and_switch(Until, Order) ->
    case relup_agent_newcomers:stop(old, Until, Order) of
        {ok, All} -> switch(All);
        {late, Text, All} -> back_off(All, suspend_timeout, Text)
    end.

switch(Order) ->
    stage(switching),
    case relup_agent_load:switch(relup_agent_section:value(ready), on_load_until(Order)) of
        {ok, Us} ->
            relup_agent_section:write(stall_us, Us),
            change(Order#{after_switch => processes()});
        {error, Text} ->
            back_off(Order, load_failed, Text)
    end.

%% Each process is resumed by the keeper as soon as it has changed; nobody waits for another. Those who start
%% others come first: a code_change may call them.
change(#{rows := Rows, tell := Tell} = Order) ->
    stage(changing),
    pipelined(true),
    relup_agent_newcomers:release(Rows),
    change_all(change, Order),
    Users = relup_agent_rows:users(Rows),
    Tell(Users, Users),
    case failures() of
        [] -> end_done(Order);
        _ -> revert(Order)
    end.

%% Asks those who were not asked yet, and waits for all; who does not come back is ended.
change_all(Question, #{rows := Rows, change_timeout_ms := Timeout} = Order) ->
    relup_agent_asking:ask_change(Question, request(Question, Order), shape_before(Question), telling(Order), Rows),
    relup_agent_asking:stop_hung(relup_agent_asking:settle(Timeout, Rows), Rows).

%% Of the users, while they change: nobody else is told of.
telling(#{rows := Rows, tell := Tell}) ->
    Users = relup_agent_rows:users(Rows),
    fun(Done) -> Tell(min(Done, Users), Users) end.

shape_before(change) -> old;
shape_before(down) -> new.

request(change, #{module := {Module, _, _}, vsn := Vsn, extra := Extra}) ->
    {change_code, Module, Vsn, Extra};
request(down, #{module := {Module, _, _}, vsn := Vsn, extra := Extra}) ->
    {change_code, Module, {down, Vsn}, Extra}.

failures() ->
    relup_agent_rows:failed() ++ relup_agent_rows:hung().

%% ---------------------------------------------------------------- up: the way back

revert(#{old := none} = Order) ->
    forward(Order);
revert(#{rows := Rows, suspend_timeout_ms := Timeout} = Order) ->
    stage(reverting),
    pipelined(false),
    case suspend_all(new, deadline(Timeout), Rows) of
        [] -> take_back(Order);
        _ -> forward(Order)
    end.

take_back(#{suspend_timeout_ms := Timeout} = Order) ->
    change_all(down, Order),
    case relup_agent_newcomers:stop(new, deadline(Timeout), Order) of
        {ok, #{rows := All} = Closed} ->
            change_all(down, Closed),
            case relup_agent_rows:moving(suspended, new, All) of
                [] -> unswitch(Closed);
                _ -> forward(Closed)
            end;
        {late, _, Closed} ->
            forward(Closed)
    end.

unswitch(#{module := {Module, _, _}} = Order) ->
    stage(unswitching),
    Cleared = relup_agent_slot:clear_old([Module], #{blocker_timeout_ms => 500, kill_blockers => false}),
    case Cleared =:= ok andalso relup_agent_load:switch(relup_agent_section:value(ready_old), on_load_until(Order)) of
        {ok, _} -> back_off(Order, code_change_failed, relup_agent_outcome:failure_text(Order));
        _ -> forward(Order)
    end.

%% There is no way back for all: who can goes on in the new code, who cannot is ended and named.
forward(#{rows := Rows} = Order) ->
    stage(forward),
    Text = relup_agent_outcome:failure_text(Order),
    pipelined(true),
    relup_agent_newcomers:release(Rows),
    Stuck = relup_agent_rows:failed(),
    relup_agent_asking:kill([N || N <- Stuck, relup_agent_rows:is_shape(N, old, Rows)], Rows),
    change_all(change, Order),
    relup_agent_asking:kill(relup_agent_rows:moving(suspended, old, Rows), Rows),
    verdict({not_done, code_change_failed,
        relup_agent_load:text("~ts; the others could not be taken back, so they run the new code", [Text]), false}),
    end_resumed(Order).

%% ---------------------------------------------------------------- down: change in the new code, then switch

take_down(Order) ->
    stage(downing),
    change_all(down, Order),
    case failures() of
        [] -> take_newcomers_down(Order);
        _ -> up_again(Order, code_change_failed, relup_agent_outcome:failure_text(Order))
    end.

%% The dead hand may have written a newcomer down and not asked it to stop: it is none that would be found now. It
%% is waited for with those who change.
take_down_again(#{rows := Rows, suspend_timeout_ms := Timeout} = Order) ->
    relup_agent_asking:ask_moving(suspend, suspend, [running], new, deadline(Timeout), Rows),
    take_down(Order).

take_newcomers_down(#{suspend_timeout_ms := Timeout} = Order) ->
    case relup_agent_newcomers:stop(new, deadline(Timeout), Order) of
        {ok, All} ->
            change_all(down, All),
            case failures() of
                [] -> switch_down(All);
                _ -> up_again(All, code_change_failed, relup_agent_outcome:failure_text(All))
            end;
        {late, Text, All} ->
            up_again(All, suspend_timeout, Text)
    end.

switch_down(Order) ->
    stage(switching),
    case relup_agent_load:switch(relup_agent_section:value(ready), on_load_until(Order)) of
        {ok, Us} ->
            relup_agent_section:write(stall_us, Us),
            end_done(Order#{after_switch => processes()});
        {error, Text} ->
            up_again(Order, load_failed, Text)
    end.

%% The new code stays: whoever went down already goes up again; who cannot is ended.
up_again(#{rows := Rows} = Order, Name, Text) ->
    pipelined(false),
    relup_agent_newcomers:release(Rows),
    change_all(change, Order),
    relup_agent_asking:kill(relup_agent_rows:moving(suspended, old, Rows), Rows),
    verdict({not_done, Name, Text, true}),
    end_resumed(Order).

%% ---------------------------------------------------------------- the end

verdict(Verdict) ->
    relup_agent_section:write(verdict, Verdict),
    stage(resuming).

end_done(Order) ->
    verdict(done),
    end_resumed(Order).

end_resumed(#{module := {Module, _, _}} = Order) ->
    resume_all(Order),
    relup_agent:purge_later([Module]),
    relup_agent_outcome:report(relup_agent_section:value(verdict), Order).

resume_all(#{rows := Rows, nth := Nth}) ->
    pipelined(false),
    Late = relup_agent_rows:moving(suspending, Rows),
    relup_agent_asking:ask_moving(resume, resume, [suspending, suspended, resuming], Rows),
    relup_agent_asking:settle(patience(Late), Rows),
    Nth > 1 andalso resume_stopped(100, Rows),
    relup_agent_asking:mourn(Rows).

%% The resume of a late one waits behind its suspend; nobody waits for that.
patience([]) -> 5000;
patience(_) -> 500.

%% After the death of a hand its suspend may overtake our resume: the last look is at the processes themselves.
resume_stopped(0, _) ->
    ok;
resume_stopped(Tries, Rows) ->
    Pids = relup_agent_rows:pids(Rows),
    Answered = relup_agent_rows:moving(running, Rows),
    case [N || N <- Answered, relup_agent_walk:is_suspended(element(N, Pids))] of
        [] ->
            ok;
        Stopped ->
            relup_agent_asking:ask(resume, resume, Stopped, Rows),
            relup_agent_asking:settle(100, Rows),
            resume_stopped(Tries - 1, Rows)
    end.

stage(Stage) ->
    relup_agent_section:write(stage, Stage).

pipelined(Flag) ->
    relup_agent_section:write(pipelined, Flag).
