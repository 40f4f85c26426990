"""The accept rule with one condition fewer, for every single condition of it.

A condition is an `if` that does nothing but return, an `if` within an expression or a comprehension, a comparison that
is all that a function returns, each operand of an `and` or an `or`, and each comparison of a chain such as
`a <= b <= c`. The rule is spread over the functions in `ACCEPT_RULE`; which module of the core has them is looked up,
so that moving one to another changes nothing here.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ACCEPT_RULE: Final = (
    "ClientProtocol._match_untrusted",
    "ClientProtocol._open_untrusted",
    "is_sealed_untrusted",
    "open_answer_untrusted",
    "Seal.open_untrusted",
    "MACSeal.unprotect",
    "ExchangeTable.match",
    "TU1.decode_answer_untrusted",
    "_unspoken",
    "decode_message_untrusted",
    "_layout",
    "Book.decode_answer_untrusted",
    "ProbeProtocol.match_untrusted",
    "ProbeProtocol._open_untrusted",
    "ProbeProtocol._decode",
    "TU1.decode_probe_answer_untrusted",
    "_decode_timed_untrusted",
    "is_intact",
    "decode_times_untrusted",
)

_SHORT_CUT: Final = "nothing: without this short cut the long way says the same"
NO_DIFFERENCE: Final = {
    ("TU1.decode_answer_untrusted", "if plain is not None"): _SHORT_CUT,
    ("TU1.decode_answer_untrusted", "plain is _REPLY"): _SHORT_CUT,
    ("TU1.decode_answer_untrusted", "not length"): _SHORT_CUT,
    ("TU1.decode_answer_untrusted", "if word >> 24 != VERSION"): _SHORT_CUT,
    ("TU1.decode_answer_untrusted", "message.cookie or message.once"): "nothing: what has neither took the short cut",
    ("ProbeProtocol._decode", "isinstance(self.profile, TU1)"): "nothing: whoever has times has this profile",
}
"""Conditions, by their function and how they begin, without which the core is the same program; and why.

`nox -s mutation` holds this list to the letter as well.
"""


class Condition(NamedTuple):
    """One condition, and the core without it."""

    function: str
    words: str
    """What was deleted, as the code has it."""
    whole: str
    """What it was deleted from; the same words where a whole statement was."""
    module: str
    """File name of the module that is changed."""
    source: str
    """That module, with this one condition deleted."""

    @property
    def no_difference(self) -> str | None:
        """Why nobody can notice; None where somebody has to."""
        for (function, beginning), why in NO_DIFFERENCE.items():
            if function == self.function and self.words.partition(" and ")[0].partition(":")[0] == beginning:
                return why
        return None


class Deletion(NamedTuple):
    """A part of a syntax tree, and what stands in its place without the condition."""

    old: ast.stmt | ast.expr
    new: ast.stmt | ast.expr
    words: str


def conditions(core: Path) -> list[Condition]:
    """Every condition of the accept rule, as the modules in this directory have it."""
    sources = {path.name: path.read_text() for path in sorted(core.glob("*.py"))}
    return [condition for function in ACCEPT_RULE for condition in _conditions_of(function, sources)]


def _conditions_of(function: str, sources: dict[str, str]) -> Iterator[Condition]:
    defining = [name for name, source in sources.items() if find(ast.parse(source), function) is not None]
    if len(defining) != 1:
        raise LookupError(f"expected one module that defines {function}, got {defining}")
    [module] = defining
    for number in range(len(_deletions(ast.parse(sources[module]), function))):
        tree = ast.parse(sources[module])
        old, new, words = _deletions(tree, function)[number]
        whole = ast.unparse(old)
        _Replace(old, new).visit(tree)
        yield Condition(function, words, whole, module, ast.unparse(ast.fix_missing_locations(tree)) + "\n")


def find(tree: ast.AST, name: str) -> ast.FunctionDef | None:
    """The function of that name; behind a dot, the method of a class."""
    first, _, rest = name.partition(".")
    for child in ast.iter_child_nodes(tree):
        match child:
            case ast.FunctionDef() if child.name == name:
                return child
            case ast.ClassDef() if child.name == first and rest:
                return find(child, rest)
    return None


def _deletions(tree: ast.AST, function: str) -> list[Deletion]:
    definition = find(tree, function)
    assert definition is not None
    found = [deletion for node in ast.walk(definition) for deletion in _deletions_at(node)]
    return sorted(found, key=lambda deletion: (deletion.old.lineno, deletion.old.col_offset))


def _deletions_at(node: ast.AST) -> Iterator[Deletion]:
    match node:
        case ast.If(body=[ast.Return()], orelse=[]):
            yield Deletion(node, ast.Pass(), ast.unparse(node))
        case ast.IfExp(body=body):
            yield Deletion(node, body, ast.unparse(node.test))
        case ast.comprehension(ifs=ifs):
            for test in ifs:
                yield Deletion(test, ast.Constant(value=True), ast.unparse(test))
        case ast.Return(value=ast.Compare(ops=[_]) as returned):
            yield Deletion(returned, ast.Constant(value=True), ast.unparse(returned))
        case ast.BoolOp(op=op, values=operands):
            for index, operand in enumerate(operands):
                yield Deletion(node, _joined(op, _without(operands, index)), ast.unparse(operand))
        case ast.Compare(left=left, ops=ops, comparators=[*_, _, _] as right):
            comparisons: list[ast.expr] = [
                ast.Compare(left=a, ops=[op], comparators=[b])
                for a, op, b in zip([left, *right], ops, right, strict=False)
            ]
            for index, comparison in enumerate(comparisons):
                yield Deletion(node, _joined(ast.And(), _without(comparisons, index)), ast.unparse(comparison))


def _without(parts: list[ast.expr], index: int) -> list[ast.expr]:
    return parts[:index] + parts[index + 1 :]


def _joined(op: ast.boolop, operands: list[ast.expr]) -> ast.expr:
    return operands[0] if len(operands) == 1 else ast.BoolOp(op=op, values=operands)


class _Replace(ast.NodeTransformer):
    """Puts one node in the place of another."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old = old
        self.new = new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)
