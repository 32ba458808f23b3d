"""What the failures mean that have a name but no class: those the agent gives in the VM, and those of steps.

The text behind `relup explain NAME`, and the `next` of the failure itself. A table, and who reads it. A name that is
an error's class too (a refusal before the plan, say) is explained by both.
"""

from engine.release.explanations import Explanation


def _failed(means: str, runs: str, next: str) -> Explanation:  # noqa: A002 - the word users see
    return Explanation(means=means, runs=runs, next=next)


_UNDONE = (
    "The step changed nothing. The steps before it are rolled back, and the old release runs (exit code 20);"
    " in a rollback that fails here, the node is between releases (30)."
)
_STOPPED = (
    "Before the point of no return all is rolled back and the old release runs (exit code 20). Where that fails, or"
    " behind that point, the node is between releases (30): 'relup status' says which modules stand on which side."
)
_BETWEEN = (
    "The node is between releases (exit code 30): all modules are the target's, and the next start boots the"
    " old release still."
)
_LOG = "Read its reason with 'relup logs --steps', and the node's own log."

FAILURES: dict[str, Explanation] = {
    # ------------------------------------------------------------ loading code
    "load_failed": _failed(
        "The VM did not take the code of a module: its file cannot be read or is no beam, it was refused, or its"
        " on_load function failed, or was ended because it had not returned after 30 s.",
        _STOPPED,
        f"{_LOG} A file that went bad after it was deployed is found by 'relup verify'.",
    ),
    "module_md5_mismatch": _failed(
        "The file that a step was to load does not hold the code that was planned, or the file that is to lead back"
        " does not hold the code that runs: somebody changed it after the plan was made.",
        _UNDONE,
        "Find out who changes files under RootDir; then plan again.",
    ),
    "lingering_processes": _failed(
        "Processes still run the code before the live one of a module that is to be switched. Loading another would"
        " kill them. They were nudged and waited for.",
        _UNDONE,
        "Look at who they are ('relup plan' lists them, with the client that each serves) and end their work, give"
        " them longer with --blocker-timeout, or accept their end with --kill-blockers.",
    ),
    "code_path_refused": _failed(
        "A folder that was to go into the code path is not there.",
        _UNDONE,
        "Look whether somebody removed the deployed tree under relup/; then plan again.",
    ),
    # ------------------------------------------------------------ an update
    "suspend_timeout": _failed(
        "Processes of an update did not stop within --suspend-timeout-ms: they are busy in a call of their own.",
        "No code was switched, and everybody was resumed. The steps before are rolled back: the old release runs"
        " (exit code 20). On the way back an update is tried three times before the node is left between releases"
        " (30).",
        "Upgrade again at a quieter time, or with a longer --suspend-timeout-ms: it is the longest that clients of"
        " those processes may wait.",
    ),
    "supervisors_silent": _failed(
        "A supervisor, or an event manager, did not answer within five seconds. It may have processes, or handlers,"
        " that the update would not find: they would meet the new code with their old state. On the way back this"
        " stops nothing: there such processes are found by what they run.",
        _UNDONE,
        "Look what the supervisor waits for (a child that takes long to start, most often), then upgrade again.",
    ),
    "code_change_failed": _failed(
        "A process's code_change crashed, refused its state or did not come back.",
        "The processes that had changed were taken back with the old code, where there is a clause for it, and the"
        " old release runs (exit code 20). Where there is no way back the others went on in the new code, those"
        " that could not were ended, and the node is between releases (30) unless the rollback mends it.",
        f"{_LOG} The release's author has to correct the code_change or the Extra of the hop.",
    ),
    "worker_lost": _failed(
        "The agent's worker was killed in the VM before it switched any code; another one resumed everybody.",
        _UNDONE,
        "Find out who killed it (an operator, a process killer in the node); then upgrade again.",
    ),
    "agent_failed": _failed(
        "The agent in the VM met something it could not bear, or its workers were killed one after the other.",
        "Nobody in the VM can say how far the step came. No process stays suspended: who fits the code that runs"
        " goes on, who does not was ended. relup reads the live modules back and rolls back from what it sees."
        f" {_STOPPED}",
        f"{_LOG} 'relup status' says what is live. Report the text if nobody killed the workers.",
    ),
    "agent_still_running": _failed(
        "The connection broke under a step, and minutes later the agent in the VM is still at it.",
        "The step goes on in the VM; the upgrade is unfinished, and nothing else was begun.",
        "Wait until it has ended, then 'relup recover'.",
    ),
    # ------------------------------------------------------------ an application
    "restart_refused": _failed(
        "kernel, stdlib and compiler cannot be restarted in a running VM.",
        _UNDONE,
        "Remove the line from the hop; their code comes with the next restart of the node.",
    ),
    "app_not_found": _failed(
        "The .app file of an application that is to be restarted cannot be read any more.",
        _UNDONE,
        "Look whether somebody changed the trees under RootDir; then plan again.",
    ),
    "failed_to_stop_app": _failed(
        "An application that is to be restarted did not stop in time, or its stop crashed.",
        "Its code was not touched; where it stopped after all, the rollback starts it again. A stop that"
        " never ends stops the rollback too (app_still_stopping). " + _STOPPED,
        f"{_LOG} Check that it runs: application:which_applications().",
    ),
    "app_still_stopping": _failed(
        "The node's application controller does not answer, because an application has begun to stop and its stop"
        " has not ended. Until it has, nobody can stop, start or list applications. The error's own text names the"
        " application and the process that is at it.",
        f"{_UNDONE} There 'relup recover --rollback' starts the application, once its stop has ended.",
        "Look what the process that is named waits for. Let it go on, or end it by exit(Pid, kill) on the node: with"
        " it ends the stop.",
    ),
    "failed_to_start_app": _failed(
        "An application was stopped and given its new code, and then did not start.",
        "That application does not run until the rollback has started the old one. " + _STOPPED,
        f"{_LOG} Check that it runs: application:which_applications().",
    ),
    # ------------------------------------------------------------ functions of the hop
    "call_failed": _failed(
        "A function of the hop (an apply or a post-upgrade callback) raised, or its process ended.",
        f"What it had done by then stays done. {_BETWEEN}",
        f"{_LOG} Remove the cause, then 'relup recover' calls it again and finishes.",
    ),
    "call_timed_out": _failed(
        "A function of the hop did not come back in time and was ended.",
        f"What it had done by then stays done. {_BETWEEN}",
        "Find out what it waits for, then 'relup recover' calls it again and finishes.",
    ),
    "post_upgrade_module_not_loaded": _failed(
        "When a post-upgrade callback was due, no module that may have it was loaded; it was not called.",
        _STOPPED,
        "Load one of them on the node (code:load_file/1). Then upgrade again, or 'relup recover' between releases.",
    ),
    # ------------------------------------------------------------ what is checked on the way
    "connections_lost": _failed(
        "The hop itself has ended more client connections than --max-lost accepts: killed by a purge, crashed while"
        " the hop was at work, or stopped with an application that it restarts. A connection that is closed is not"
        " counted. All are watched from the first live step on, and the new code serves them for --watch-ms before"
        " what cannot be undone.",
        "The clients that were lost have to connect again. All is rolled back and the old release runs (exit code"
        " 20); where that fails, the node is between releases (30). Behind the point of no return it stops nothing,"
        " and is told at the end (33).",
        "'relup logs --steps' has each with its reason; --max-lost accepts more.",
    ),
    "verification_failed": _failed(
        "Read back, the node is not as the steps left it: another live module, an application that stopped, processes"
        " that are suspended.",
        _STOPPED,
        f"{_LOG} Find out who else changes this node; 'relup recover' finishes what is unfinished.",
    ),
    "tree_in_use": _failed(
        "A rollback was to remove a deployed tree that the node runs from, or boots next.",
        "The tree stays; the rollback is unfinished and the node may be between releases (exit code 30).",
        "'relup status' says what runs and what boots next.",
    ),
}
"""By name, in the order of a hop."""


def advice_of(name: str) -> str:
    """What to do after the failure of this name; something for a name of a newer agent too."""
    known = FAILURES.get(name)
    return known.next if known else "Look at the node's log, then run 'relup status'."
