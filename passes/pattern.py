"""A small matcher: a rule is a pattern, a check and a rewrite; a near miss says why it was one.

A pattern is a tree that is matched from a node (the root) towards the graph's inputs. Nodes of it other than the
root are *interior*: the rewrite swallows them, so each must have one reader and be no graph output, and the
matcher sees to that for every rule.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, ClassVar

from cnnir.errors import VerificationError
from cnnir.ir import Graph, Node, Operator, Value
from cnnir.passes.base import Report
from cnnir.passes.editor import Editor


@dataclass(frozen=True)
class Pattern(ABC):
    """Something a value can match."""

    name: str


@dataclass(frozen=True)
class Anything(Pattern):
    """Any value at all; `name` binds it."""


@dataclass(frozen=True)
class Constant(Pattern):
    """A value with data."""


@dataclass(frozen=True)
class Apply(Pattern):
    """The output of one of `ops`. `inputs` describes the first inputs only; with `commutative`, in either order."""

    ops: tuple[Operator[Any], ...]
    inputs: tuple[Pattern, ...] = ()
    commutative: bool = False

    @property
    def words(self) -> str:
        return " or ".join(op.name for op in self.ops) if len(self.ops) <= 4 else f"a node for '{self.name}'"


@dataclass
class Match:
    """What a pattern bound: nodes and values by name; `interior` lists the nodes that the rewrite swallows."""

    root: Node
    nodes: dict[str, Node] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    interior: list[Node] = field(default_factory=list)


@dataclass
class Miss:
    """Why a pattern did not match; `depth` counts the nodes that fitted before that."""

    reason: str
    partial: Match

    @property
    def depth(self) -> int:
        return len(self.partial.nodes)


class Rule(ABC):
    """One rewrite. `subject` names the pattern node that reports are about.

    A failed match is reported as declined when at least `near` nodes of the pattern fitted; a failed check always.
    """

    pattern: ClassVar[Apply]
    subject: ClassVar[str]
    near: ClassVar[int] = 2

    @property
    def roots(self) -> tuple[Operator[Any], ...]:
        """The operators at which to look."""
        return self.pattern.ops

    def match(self, node: Node, edit: Editor) -> Match | Miss:
        return match(self.pattern, node, edit)

    @abstractmethod
    def check(self, found: Match, edit: Editor) -> str | None:
        """The reason to decline, or `None` to go on."""

    @abstractmethod
    def rewrite(self, found: Match, edit: Editor) -> str:
        """Edits the graph and says in a few words what was done."""


def match(pattern: Apply, node: Node, edit: Editor) -> Match | Miss:
    """Matches `pattern` with its root at `node`."""
    if node.op not in pattern.ops:
        return Miss(f"is {node.op.name}, not {pattern.words}", Match(node))
    found = Match(node, nodes={pattern.name: node})
    return _match_inputs(pattern, node, found, edit)


def _match_inputs(pattern: Apply, node: Node, found: Match, edit: Editor) -> Match | Miss:
    orders = [pattern.inputs]
    if pattern.commutative and len(pattern.inputs) == 2:
        orders.append(pattern.inputs[::-1])
    best: Miss | None = None
    for order in orders:
        result = _match_order(order, node, found, edit)
        if isinstance(result, Match):
            return result
        if best is None or result.depth > best.depth:
            best = result
    assert best is not None
    return best


def _match_order(order: tuple[Pattern, ...], node: Node, found: Match, edit: Editor) -> Match | Miss:
    current = Match(found.root, dict(found.nodes), dict(found.values), list(found.interior))
    reason: str | None = None
    for pattern, value in zip(order, node.inputs, strict=False):
        result = _match_value(pattern, value, node, current, edit)
        if isinstance(result, Miss):
            # The other inputs are still looked at: how near the miss was depends on them.
            reason = reason or result.reason
            current = result.partial
        else:
            current = result
    return current if reason is None else Miss(reason, current)


def _match_value(pattern: Pattern, value: Value | None, reader: Node, found: Match, edit: Editor) -> Match | Miss:
    if value is None:
        return Miss(f"'{reader.name}' has no input '{pattern.name}'", found)
    found.values[pattern.name] = value
    if isinstance(pattern, Constant):
        return found if value.is_constant else Miss(f"'{value.name}' is not a constant", found)
    if not isinstance(pattern, Apply):
        return found
    producer = value.producer
    if producer is None:
        return Miss(f"reads {'constant' if value.is_constant else 'graph input'} '{value.name}'", found)
    if producer.op not in pattern.ops:
        return Miss(f"reads {producer.op.name} '{producer.name}', not {pattern.words}", found)
    found.nodes[pattern.name] = producer
    if reason := edit.shared(value):
        return Miss(reason, found)
    found.interior.append(producer)
    return _match_inputs(pattern, producer, found, edit)


def apply_rules(graph: Graph, rules: tuple[Rule, ...], report: Report) -> None:
    """Sweeps over the graph in order, first rule that fits first, until a sweep changes nothing.

    Declines are those of the last sweep: what is still there, and why.
    """
    by_op: dict[Operator[Any], list[Rule]] = defaultdict(list)
    for rule in rules:
        for op in rule.roots:
            by_op[op].append(rule)
    with Editor(graph) as edit:
        # Every rewrite removes a node or brings one nearer to its normal form, so this bound is never met by a
        # rule set that terminates.
        for _ in range(2 * len(graph.nodes) + 2):
            declines: dict[tuple[str, str], None] = {}
            if not _sweep(graph, by_op, edit, report, declines):
                for name, reason in declines:
                    report.declined(name, reason)
                return
            edit.commit()
        raise VerificationError(f"The rules {', '.join(type(r).__name__ for r in rules)} undo each other.")


def _sweep(
    graph: Graph,
    by_op: dict[Operator[Any], list[Rule]],
    edit: Editor,
    report: Report,
    declines: dict[tuple[str, str], None],
) -> bool:
    changed = False
    for node in graph.nodes:
        for rule in by_op.get(node.op, ()):
            if edit.is_dead(node):
                break
            found = rule.match(node, edit)
            if isinstance(found, Miss):
                if found.depth >= rule.near:
                    subject = found.partial.nodes.get(rule.subject, node)
                    declines[subject.name, found.reason] = None
                continue
            subject = found.nodes.get(rule.subject, node)
            if (reason := rule.check(found, edit)) is not None:
                declines[subject.name, reason] = None
                continue
            name = subject.name
            report.rewrote(name, rule.rewrite(found, edit))
            changed = True
    return changed
