"""Which line of a chat template wrote which characters: how a fault in a rendered conversation is traced to its source.

The template is compiled a second time with a mark before everything that it writes; the marks name the lines, and are
taken out of the text again.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from types import TracebackType

from jinja2 import Template, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from journeyman.errors import InvalidInput
from journeyman.records import Message, Tool
from journeyman.rendering.chat import ChatTemplate, template_environment

_OPENS, _CLOSES = "\uf8e0", "\uf8e1"
_MARK = re.compile(f"{_OPENS}([0-9]+){_CLOSES}")
_BUFFERED = (nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.AssignBlock)
"""What a template may look into or change once it is written: there marks may do harm."""


class Provenance:
    """Finds the lines (from 1) of one template's source."""

    def __init__(self, template: ChatTemplate) -> None:
        self._template = template
        self._traced = [
            _TracedTemplate(template, inside_buffers=True), _TracedTemplate(template, inside_buffers=False)
        ]  # fmt: skip

    def line_at(
        self, messages: Sequence[Message], tools: Sequence[Tool], position: int, *, ask_for_reply: bool
    ) -> int | None:
        """The line that wrote the character at `position` of the rendered conversation; its last one beyond the end.

        None where the template cannot be traced, because it looks into what it has written.
        """
        plain = self._template.render(messages, tools, ask_for_reply=ask_for_reply)
        for traced in self._traced:
            try:
                marked = traced.render(messages, tools, ask_for_reply=ask_for_reply)
            except InvalidInput:
                continue
            if _MARK.sub("", marked) == plain:
                return _line_in(marked, min(position, len(plain) - 1))
        return None

    def line_of_call(self, function: str) -> int | None:
        """The first line on which the template calls `function`."""
        tree = template_environment().parse(self._template.text)
        calls = (node for node in tree.find_all(nodes.Call) if isinstance(node.node, nodes.Name))
        return min((call.lineno for call in calls if getattr(call.node, "name", "") == function), default=None)

    def excerpt(self, line: int | None) -> str:
        """The source line, without the space around it; empty when there is none."""
        lines = self._template.text.split("\n")
        return lines[line - 1].strip() if line and line <= len(lines) else ""


def line_of_error(error: BaseException) -> int | None:
    """The template's line in which rendering failed; None for an error that did not come from a template."""
    found: int | None = None
    each: BaseException | None = error
    while each is not None:
        for name, line in _frames(each.__traceback__):
            if name in ("<template>", "<unknown>"):
                found = line
        each = each.__cause__
    return found


def _frames(traceback: TracebackType | None) -> Iterator[tuple[str, int]]:
    while traceback is not None:
        yield traceback.tb_frame.f_code.co_filename, traceback.tb_lineno
        traceback = traceback.tb_next


def _line_in(marked: str, position: int) -> int | None:
    """The line of the last mark that stands before the character, counted without marks."""
    starts, lines, taken = [], [], 0
    for mark in _MARK.finditer(marked):
        starts.append(mark.start() - taken)
        lines.append(int(mark[1]))
        taken += len(mark[0])
    found = bisect_right(starts, position)
    return lines[found - 1] if found else None


class _TracedTemplate(ChatTemplate):
    def __init__(self, template: ChatTemplate, *, inside_buffers: bool) -> None:
        self._inside_buffers = inside_buffers
        super().__init__(template.text, template.special_tokens)

    def _compiled(self, environment: ImmutableSandboxedEnvironment) -> Template:
        tree = environment.parse(self.text)
        spared = set()
        if not self._inside_buffers:
            spared = {id(each) for block in tree.find_all(_BUFFERED) for each in block.find_all(nodes.Output)}
        for output in list(tree.find_all(nodes.Output)):
            if id(output) not in spared:
                output.nodes = [each for child in output.nodes for each in _with_lines(child)]
        return environment.from_string(tree)


def _with_lines(child: nodes.Expr) -> Iterator[nodes.Expr]:
    if not isinstance(child, nodes.TemplateData):
        yield _mark(child.lineno)
        yield child
        return
    for count, piece in enumerate(child.data.splitlines(keepends=True)):
        yield _mark(child.lineno + count)
        yield nodes.TemplateData(piece, lineno=child.lineno + count)


def _mark(line: int) -> nodes.TemplateData:
    return nodes.TemplateData(f"{_OPENS}{line}{_CLOSES}", lineno=line)
