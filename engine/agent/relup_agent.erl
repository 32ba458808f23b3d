%% The agent's desk: one registered name, one step at a time, every outcome kept under its key.
%%
%% Requests are gen_server calls to `relup_agent`: {1, UpgradeId, StepId, Attempt, Request} with Request
%% `{perform, Order, Client}` or `outcome`, and {1, hello}, {1, ended}, {1, dismiss}; 1 is the protocol. The work is
%% done by relup_agent_section, which lives on when the desk dies.

-module(relup_agent).

-export([start/1, purge_later/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-record(desk, {modules, outcomes = #{}, running = none, waiting = [], unheard = [], purging = none, to_purge = [], leaving = false}).

%% Modules are the agent's own, to be taken out of the VM with it.
start(Modules) ->
    case gen_server:start({local, relup_agent}, hd(Modules), Modules, []) of
        {ok, _} -> ok;
        {error, {already_started, _}} -> already_started
    end.

%% The old code of these modules is purged in the background, softly and without haste.
purge_later(Modules) ->
    gen_server:cast(relup_agent, {purge, Modules}).

init(Modules) ->
    [group_leader(User, self()) || User <- [whereis(user)], is_pid(User)],
    ets:new(relup_agent_kept, [named_table, public, set]),
    {ok, #desk{modules = Modules, running = relup_agent_section:open()}, idle()}.

idle() -> 600000.

%% ---------------------------------------------------------------- requests

handle_call({1, UpgradeId, StepId, Attempt, Request}, From, Desk) ->
    step(Request, {UpgradeId, StepId, Attempt}, From, Desk);
handle_call({1, hello}, _, #desk{modules = Modules, running = Running} = Desk) ->
    {reply, {agent, hd(Modules), Running, relup_agent_section:members()}, Desk, idle()};
handle_call({1, ended}, _, Desk) ->
    {reply, {ended, relup_agent_witness:ended()}, Desk, idle()};
handle_call({1, dismiss}, _, #desk{running = none, to_purge = []} = Desk) ->
    {stop, normal, dismissed, Desk};
handle_call({1, dismiss}, _, #desk{running = none} = Desk) ->
    _ = relup_agent_witness:stop(),
    {reply, dismissed, Desk#desk{leaving = true, outcomes = #{}, unheard = []}, idle()};
handle_call({1, dismiss}, _, Desk) ->
    {reply, busy(Desk), Desk, idle()};
handle_call(_, _, Desk) ->
    {reply, {refused, {protocol, 1}}, Desk, idle()}.

step(Request, Key, From, #desk{outcomes = Outcomes, unheard = Unheard} = Desk) ->
    case Outcomes of
        #{Key := Report} ->
            {reply, {outcome, Report}, Desk#desk{unheard = lists:delete(Key, Unheard)}, idle()};
        _ ->
            unknown(Request, Key, From, Desk)
    end.

unknown(outcome, Key, _, #desk{running = Key} = Desk) ->
    {reply, {running, relup_agent_section:value(stage, ending)}, Desk};
unknown(outcome, _, _, Desk) ->
    {reply, unknown, Desk, idle()};
unknown({perform, _, Client}, Key, From, #desk{running = Key, waiting = Waiting} = Desk) ->
    {noreply, Desk#desk{waiting = [{From, Client} | Waiting]}};
unknown({perform, Order, Client}, Key, From, #desk{running = none} = Desk) ->
    Paused = stop_purging(Desk#desk{leaving = false}),
    case relup_agent_section:start(Key, Order, Client) of
        ok -> {noreply, Paused#desk{running = Key, waiting = [{From, Client}]}};
        {error, _} -> {reply, busy(Paused#desk{running = relup_agent_section:open()}), Paused, idle()}
    end;
unknown({perform, _, _}, _, _, Desk) ->
    {reply, busy(Desk), Desk}.

busy(#desk{running = Running}) ->
    {busy, Running, relup_agent_section:value(stage, ending)}.

%% ---------------------------------------------------------------- what happens

handle_cast({purge, Modules}, #desk{to_purge = Before} = Desk) ->
    {noreply, Desk#desk{to_purge = Before ++ Modules}, idle()}.

handle_info({relup_ended, Key, Report}, #desk{outcomes = Outcomes, waiting = Waiting, unheard = Unheard} = Desk) ->
    [gen_server:reply(From, {outcome, Report}) || {From, _} <- Waiting],
    Heard = lists:any(fun({_, Client}) -> is_there(Client) end, Waiting),
    Kept = Desk#desk{
        outcomes = Outcomes#{Key => Report},
        running = none,
        waiting = [],
        unheard = [Key || not Heard] ++ Unheard
    },
    {noreply, start_purging(Kept), idle()};
handle_info({'DOWN', Ref, process, _, _}, #desk{purging = {_, Ref}, leaving = true} = Desk) ->
    {stop, normal, Desk};
handle_info({'DOWN', Ref, process, _, _}, #desk{purging = {_, Ref}} = Desk) ->
    {noreply, Desk#desk{purging = none, to_purge = []}, idle()};
handle_info(timeout, #desk{running = none, unheard = []} = Desk) ->
    {stop, normal, Desk};
handle_info(_, Desk) ->
    {noreply, Desk, idle()}.

%% A client's node name is its own, given by this node to this connection alone.
is_there(Client) ->
    is_pid(Client) andalso lists:member(node(Client), [node() | nodes(connected)]).

start_purging(#desk{to_purge = []} = Desk) ->
    Desk;
start_purging(#desk{to_purge = Modules} = Desk) ->
    %% A purge costs about ten microseconds per process and module.
    Purging = spawn_monitor(fun() -> relup_agent_slot:soft_purge(Modules, 2) end),
    Desk#desk{purging = Purging}.

%% A step frees the old slots it needs by itself; what remains is taken up after it.
stop_purging(#desk{purging = none} = Desk) ->
    Desk;
stop_purging(#desk{purging = {Pid, Ref}} = Desk) ->
    exit(Pid, kill),
    demonitor(Ref, [flush]),
    Desk#desk{purging = none}.

%% ---------------------------------------------------------------- leaving

%% One that is dismissed stays until its purges are done, unless a step comes first. Its code goes last: whoever
%% runs it is about to end.
terminate(_, #desk{modules = Modules} = Desk) ->
    _ = stop_purging(Desk),
    _ = relup_agent_witness:stop(),
    [code:delete(Module) || Module <- Modules],
    [spawn(code, purge, [Module]) || Module <- Modules],
    ok.
