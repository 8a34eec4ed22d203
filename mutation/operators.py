"""The wrong changes that are planted: cosmic-ray's operators, a few of our own, and the places that
are left alone.

Left alone is what no test of behaviour can notice: annotations, docstrings, error messages, prints,
    logs, assertions of our
own mistakes, imports and ``__all__``.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

import parso
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator
from parso.tree import NodeOrLeaf

Position = tuple[int, int]
"""Line from 1 and column from 0, in characters."""

COMPARED = (
    "Eq_NotEq NotEq_Eq Lt_LtE Lt_Gt LtE_Lt LtE_GtE Gt_GtE Gt_Lt GtE_Gt GtE_LtE Is_IsNot IsNot_Is"
)
COMPUTED = (
    "Add_Sub Sub_Add Mul_Div Div_Mul FloorDiv_Mul Mod_FloorDiv Pow_Mul BitAnd_BitOr BitOr_BitAnd"
)
NAMES = {
    "min": "max",
    "argmin": "argmax",
    "mean": "sum",
    "any": "all",
    "zeros": "ones",
    "zeros_like": "ones_like",
    "floor": "ceil",
    "minimum": "maximum",
    "add_": "sub_",
    "validation": "test",
    "train": "validation",
    "student": "teacher",
    "batchmean": "sum",
    "first": "last",
    "start": "end",
    "height": "width",
}
SWAPPED = NAMES | {new: old for old, new in reversed(NAMES.items()) if new not in NAMES}
BUILTINS = {"min", "max", "any", "all"}
DROPPED_CALLS = {
    "detach",
    "abs",
    "exp",
    "log",
    "sqrt",
    "square",
    "t",
    "clone",
    "copy",
    "relu",
    "sigmoid",
    "sort",
    "flatten",
}
QUIET_CALLS = {
    "print",
    "warn",
    "info",
    "debug",
    "warning",
    "log",
    "echo",
    "note",
    "say",
    "cast",
    "TypeVar",
}
QUIET_KEYWORDS = {"strict", "encoding", "ensure_ascii", "usedforsecurity"}
ASYMMETRIC = {"isinstance", "issubclass", "hasattr", "getattr"}
"""Calls with swapped arguments always fail."""
NOT_ARITHMETIC = {
    "parameters",
    "arglist",
    "argument",
    "dictorsetmaker",
    "subscriptlist",
    "import_from",
    "typedargslist",
}


class _Own(Operator):
    """An operator of our own: at most one change at a node."""

    def mutation_positions(self, node: NodeOrLeaf) -> Iterator[tuple[Position, Position]]:
        if self.replacement(node) is not None:
            yield node.start_pos, node.end_pos

    def mutate(self, node: NodeOrLeaf, index: int) -> NodeOrLeaf:
        prefix = node.get_first_leaf().prefix
        return parso.parse(prefix + (self.replacement(node) or "")).children[0]

    def replacement(self, node: NodeOrLeaf) -> str | None:
        """The code that replaces the node's, or None where this operator has nothing to change."""
        raise NotImplementedError

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


class DropStatement(_Own):
    """``n += 1``, ``self.update(x)`` and ``part.epoch = epoch`` become ``pass``; not in
    ``__init__``, where any test fails."""

    def replacement(self, node: NodeOrLeaf) -> str | None:
        if node.parent is None or node.parent.type != "simple_stmt":
            return None
        if node.type == "expr_stmt":
            target, sign = node.children[0], node.children[1]
            changes = sign.type == "operator" and (sign.value != "=" or target.type == "atom_expr")
            changes = changes or sign.type == "augassign"
            function = parso.python.tree.search_ancestor(node, "funcdef")
            return (
                "pass"
                if changes and function is not None and function.name.value != "__init__"
                else None
            )
        called = node.type == "atom_expr" and node.children[-1].get_code().startswith("(")
        return "pass" if called and not node.get_code().strip().startswith("super") else None


class SwapName(_Own):
    """``min`` becomes ``max``, ``"validation"`` becomes ``"test"``, and so on."""

    def replacement(self, node: NodeOrLeaf) -> str | None:
        if node.type == "string" and node.value[1:-1] in SWAPPED:
            return f'"{SWAPPED[node.value[1:-1]]}"'
        if node.type != "name" or node.value not in SWAPPED or node.is_definition():
            return None
        attribute = node.parent.type == "trailer" and node.parent.children[0].value == "."
        return SWAPPED[node.value] if attribute or node.value in BUILTINS else None


class SwapArguments(_Own):
    """``f(x, a, b)`` becomes ``f(x, b, a)``."""

    def replacement(self, node: NodeOrLeaf) -> str | None:
        if node.type != "arglist" or node.parent.type != "trailer":
            return None
        parts = [
            child.get_code().strip() for child in node.children if child.get_code().strip() != ","
        ]
        plain = [
            number for number, child in enumerate(node.children[::2]) if child.type != "argument"
        ]
        if len(plain) < 2 or node.parent.get_previous_sibling().get_code().strip() in ASYMMETRIC:
            return None
        last, other = plain[-1], plain[-2]
        if node.children[2 * last].type != node.children[2 * other].type:
            return None  # most likely of different Python types: any test would fail
        parts[last], parts[other] = parts[other], parts[last]
        return ", ".join(parts)


class DropArgument(_Own):
    """``f(x, key=value)`` becomes ``f(x)``."""

    def replacement(self, node: NodeOrLeaf) -> str | None:
        if node.type != "arglist" or node.parent.type != "trailer":
            return None
        parts = list(node.children[::2])
        last = parts[-1]
        if (
            last.type != "argument"
            or last.children[1].get_code().strip() != "="
            or last.children[0].value in QUIET_KEYWORDS
        ):
            return None
        return ", ".join(part.get_code().strip() for part in parts[:-1])


class DropCall(_Own):
    """``x.detach()`` becomes ``x``; the rest of a chain of calls stays."""

    def replacement(self, node: NodeOrLeaf) -> str | None:
        if node.type != "atom_expr":
            return None
        codes = [child.get_code().strip() for child in node.children]
        for number in range(1, len(codes) - 1):
            if codes[number].lstrip(".") in DROPPED_CALLS and codes[number + 1] == "()":
                return "".join(codes[:number] + codes[number + 2 :])
        return None


def _all_operators() -> dict[str, Operator]:
    names = [f"ReplaceComparisonOperator_{pair}" for pair in COMPARED.split()]
    names += [f"ReplaceBinaryOperator_{pair}" for pair in COMPUTED.split()]
    names += [
        "NumberReplacer",
        "ReplaceTrueWithFalse",
        "ReplaceFalseWithTrue",
        "ReplaceAndWithOr",
        "ReplaceOrWithAnd",
        "AddNot",
    ]
    names += [
        "ReplaceUnaryOperator_USub_UAdd",
        "ReplaceUnaryOperator_Delete_Not",
        "ReplaceBreakWithContinue",
    ]
    names += ["ReplaceContinueWithBreak", "ZeroIterationForLoop", "ExceptionReplacer"]
    core = {name: get_operator(f"core/{name}")() for name in names}
    return core | {
        kind.__name__: kind()
        for kind in (DropStatement, SwapName, SwapArguments, DropArgument, DropCall)
    }


OPERATORS = _all_operators()


@dataclass(frozen=True)
class Change:
    """One planted fault: which operator, and which of the places where it applies in a file."""

    operator: str
    occurrence: int
    line: int
    column: int

    def applied(self, source: str) -> str | None:
        """The file's text with the fault, or None if that is not valid Python or no change."""
        try:
            mutant = mutate_code(source, OPERATORS[self.operator], self.occurrence)
        except (
            AttributeError
        ):  # cosmic-ray's exception replacer does not expect ``except package.Error``
            return None
        if mutant is None or mutant == source:
            return None
        try:
            same = ast.dump(ast.parse(mutant)) == ast.dump(ast.parse(source))
        except SyntaxError:
            return None
        return None if same else mutant


def places(source: str) -> dict[Position, list[Change]]:
    """Where a file can be changed, and the changes at each place."""
    quiet = list(_quiet_ranges(source))
    found: dict[Position, list[Change]] = {}
    nodes = list(ast_nodes(get_ast(source)))
    for name, operator in OPERATORS.items():
        occurrence = -1
        for node in nodes:
            for start, _ in operator.mutation_positions(node):
                occurrence += 1
                arithmetic = "BinaryOperator" not in name or node.parent.type not in NOT_ARITHMETIC
                if arithmetic and not any(first <= start < last for first, last in quiet):
                    found.setdefault(start, []).append(Change(name, occurrence, *start))
    return dict(sorted(found.items()))


def _quiet_ranges(source: str) -> Iterator[tuple[Position, Position]]:
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        for part in _quiet_parts(node):
            start = len(lines[part.lineno - 1].encode()[: part.col_offset].decode())
            assert part.end_lineno is not None and part.end_col_offset is not None
            end = len(lines[part.end_lineno - 1].encode()[: part.end_col_offset].decode())
            yield (part.lineno, start), (part.end_lineno, end)


def _quiet_parts(node: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    match node:
        case ast.Raise() | ast.Assert() | ast.Import() | ast.ImportFrom() | ast.JoinedStr():
            yield node
        case ast.Expr(value=ast.Constant()):
            yield node
        case ast.arg(annotation=ast.expr() as annotation) | ast.AnnAssign(annotation=annotation):
            yield annotation
        case ast.FunctionDef(returns=ast.expr() as returns):
            yield returns
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            yield node
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            yield node
        case ast.keyword(arg=str(key), value=value) if key in QUIET_KEYWORDS:
            yield value
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if (
            name in QUIET_CALLS and node.args
        ):
            yield node
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        yield from node.decorator_list
