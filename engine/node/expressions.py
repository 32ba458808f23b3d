"""The Erlang expressions of the reading calls and of the agent's installation: texts, and nothing else.

Names of modules go in as binaries: a name that the VM does not know makes no atom there.
"""

OBSERVE = """
{ok, Stat} = file:read_file("/proc/self/stat"),
Version = case erlang:function_exported(emqx_release, version, 0) of
    true -> try unicode:characters_to_binary(emqx_release:version()) catch _:_ -> undefined end;
    false -> undefined
end,
{atom_to_binary(node(), utf8), list_to_integer(os:getpid()), Stat, erlang:system_info(creation),
 list_to_binary(erlang:system_info(otp_release)), list_to_binary(erlang:system_info(version)),
 Version, unicode:characters_to_binary(code:root_dir())}.
"""

ALL_MD5S = """
[{atom_to_binary(M, utf8), Md5} ||
    M <- erlang:loaded(), Md5 <- [catch erlang:get_module_info(M, md5)], is_binary(Md5)].
"""

MD5S_OF = """
[{Name, Md5} || Name <- Names, M <- [catch binary_to_existing_atom(Name, utf8)], is_atom(M),
    Md5 <- [catch erlang:get_module_info(M, md5)], is_binary(Md5)].
"""

FILES_OF = """
[{Name, unicode:characters_to_binary(File)} ||
    Name <- Names, M <- [catch binary_to_existing_atom(Name, utf8)], is_atom(M),
    erlang:module_loaded(M), File <- [code:which(M)], is_list(File), File =/= []].
"""

APPLICATIONS = """
Running = [App || {App, _, _} <- application:which_applications(30000)],
[{atom_to_binary(App, utf8), unicode:characters_to_binary(Vsn), lists:member(App, Running)} ||
    {App, _, Vsn} <- application:loaded_applications()].
"""

CODE_PATH = "[unicode:characters_to_binary(Folder) || Folder <- code:get_path()]."

CONNECTIONS = """
Known = fun({M, F, Arguments}) ->
    case erlang:function_exported(M, F, length(Arguments)) of
        true -> try apply(M, F, Arguments) catch _:_ -> undefined end;
        false -> undefined
    end
end,
case Known({emqx_cm, get_connected_client_count, []}) of
    Count when is_integer(Count) -> Count;
    _ -> Known({emqx_stats, getstat, ['connections.count']})
end.
"""
"""Optional: a counter that raises is one that is not there."""

CLIENT_APPLICATIONS = """
case catch ets:select(emqx_channel, [{{'_', '$1'}, [{is_pid, '$1'}], ['$1']}], 1000) of
    {Pids, _} when is_list(Pids) ->
        [atom_to_binary(App, utf8) || Pid <- Pids, {ok, App} <- [application:get_application(Pid)]];
    _ -> []
end.
"""
"""One name for each client of the sample whose application is known."""

SCRIPT = """
Split = fun
    Split([], [], Done) -> lists:reverse(Done);
    Split([], Seen, Done) -> lists:reverse([lists:reverse(Seen) | Done]);
    Split([{dot, _} = Dot | Rest], Seen, Done) -> Split(Rest, [], [lists:reverse([Dot | Seen]) | Done]);
    Split([Token | Rest], Seen, Done) -> Split(Rest, [Token | Seen], Done)
end,
{ok, Tokens, _} = erl_scan:string(unicode:characters_to_list(Text)),
element(1, lists:foldl(
    fun(Part, {_, Bound}) ->
        {ok, Exprs} = erl_parse:parse_exprs(Part),
        {value, Value, Now} = erl_eval:exprs(Exprs, Bound),
        {Value, Now}
    end,
    {undefined, erl_eval:new_bindings()},
    Split(Tokens, [], [])
)).
"""
"""What file:script/1 does with a file's text: every expression in turn, the value of the last."""

PARSED = """
Parsed = fun(Text) ->
    {ok, Tokens, _} = erl_scan:string(unicode:characters_to_list(Text)),
    {ok, Form} = erl_parse:parse_form(Tokens),
    Form
end,
"""
"""From the text of a form to the form; a part of an expression."""

INTERPRET = (
    PARSED
    + """
Forms = lists:map(Parsed, Texts),
Run = fun(Name, Arguments) -> apply(get({Name, length(Arguments)}), Arguments) end,
[begin
    {value, Fun, _} = erl_eval:expr({'fun', 1, {clauses, Clauses}}, [], {value, Run}),
    put({Name, Arity}, Fun)
end || {function, _, Name, Arity, Clauses} <- Forms],
Existing = fun(Names) ->
    [M || Name <- Names, M <- [catch binary_to_existing_atom(Name, utf8)], is_atom(M)]
end,
"""
)
"""Runs functions of the module whose forms are bound to `Texts`, without loading it.

Each function is made a fun once (making one is slow) and kept in the dictionary of the call's own process.
"""

LINGERING = INTERPRET + "Run(seen, [Run(in_old_code, [Existing(Names)])])."

SUSPENDED = INTERPRET + "Run(seen, [Run(suspended, [])])."

MODULE_USERS = (
    INTERPRET
    + """
{Users, _, Silent} = Run(users, [Existing(Names)]),
Strays = Run(strays, [Existing(Names), [Pid || {Pid, _} <- Users]]),
Counted = lists:foldl(fun({_, M}, Counts) -> maps:update_with(M, fun(N) -> N + 1 end, 1, Counts) end, #{}, Users),
{[{atom_to_binary(M, utf8), N} || {M, N} <- maps:to_list(Counted)], Run(seen, [Strays]),
    Run(seen, [[{Pid, supervisor} || Pid <- Silent]])}.
"""
)

HELD_FUNS = INTERPRET + "Run(held, [Existing(Names), BudgetMs])."

HAS_COMPILER = "code:ensure_loaded(compile) =:= {module, compile}."

COMPILE = (
    PARSED
    + """
[begin
    {ok, Module, Beam} = compile:noenv_forms(lists:map(Parsed, Texts), [no_copt, no_ssa_opt, no_bsm_opt, no_postopt]),
    {Module, Beam}
end || Texts <- Sources].
"""
)
"""Without the optimizing passes it takes a third of the time, which is the broker's."""

LOAD_AGENT = """
[{module, Module} = code:load_binary(Module, "relup_agent", Beam) || {Module, Beam} <- Beams],
Desk:start([Module || {Module, _} <- Beams]).
"""

AGENT_GONE = """
Gone = fun
    Gone(0) -> false;
    Gone(Tries) ->
        Loaded = [M || Name <- Names, M <- [catch binary_to_existing_atom(Name, utf8)], is_atom(M),
            erlang:module_loaded(M) orelse erlang:check_old_code(M)],
        case Loaded =:= [] andalso whereis(relup_agent) =:= undefined of
            true -> true;
            false -> timer:sleep(5), Gone(Tries - 1)
        end
end,
Gone(1000).
"""
