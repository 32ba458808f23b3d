"""Which instruction moves a module that several of them name: one hop moves a module once. Pure over one hop.

Loaded before its update, a module meets the states of the old shape, and the update finds nothing left to do; loaded
behind it, it leads the way back past the states. So an update stands for every load of its module, and of equals the
first counts.
"""

from collections.abc import Iterator, Mapping

from engine.release.findings import Finding
from engine.release.hop import AnyInstruction, Hop, LoadModule, Update

Move = LoadModule | Update


def moving_instructions(hop: Hop) -> Iterator[AnyInstruction]:
    """The instructions of the hop in their order, without those in whose place another one moves the module."""
    movers = _movers(hop)
    for instruction in hop.instructions:
        if not isinstance(instruction, Move) or movers[instruction.module] is instruction:
            yield instruction


def named_twice(hop: Hop) -> Iterator[Finding]:
    """Each module that more than one instruction names, and which of them moves it."""
    movers = _movers(hop)
    passed_over: dict[str, list[int]] = {}
    for instruction in _moves(hop):
        if movers[instruction.module] is not instruction:
            passed_over.setdefault(instruction.module, []).append(instruction.line)
    for module, lines in passed_over.items():
        mover = movers[module]
        word = "update" if isinstance(mover, Update) else "load"
        yield Finding(
            code="module_named_twice",
            severity="note",
            subject=module,
            happened=f"the hop names {module} {len(lines) + 1} times; its {word} in line {mover.line} moves it, what"
            f" names it in line {', '.join(map(str, lines))} is passed over",
            next="Keep one line: the update where its processes hold a state that changed.",
        )


def _movers(hop: Hop) -> Mapping[str, Move]:
    """What moves each module: its first update, else its first load."""
    movers: dict[str, Move] = {}
    for instruction in sorted(_moves(hop), key=lambda each: isinstance(each, LoadModule)):
        movers.setdefault(instruction.module, instruction)
    return movers


def _moves(hop: Hop) -> list[Move]:
    return [instruction for instruction in hop.instructions if isinstance(instruction, Move)]
