# SPDX-License-Identifier: Apache-2.0
"""A small reader of our own C: enough for the house rules, no compiler's work.

It knows comments, strings, preprocessor lines, braces, and where a function
begins and ends.  It does not expand macros.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"

_TOKEN = re.compile(
    r"""(?P<comment>/\*.*?\*/|//[^\n]*)
      | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')""",
    re.DOTALL | re.VERBOSE,
)
_DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(<[^>\n]+>|"[^"\n]+")', re.MULTILINE)
_HEAD = re.compile(r"(\w+)\s*\([^{};]*\)\s*$", re.DOTALL)


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


@dataclass(frozen=True)
class Function:
    name: str
    first: int  # line of its name
    last: int  # line of its closing brace
    body: str  # code between the braces, comments and strings blanked
    body_line: int  # line of the opening brace

    @property
    def length(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True)
class Include:
    line: int
    name: str
    system: bool


class CFile:
    def __init__(self, path: Path, text: str | None = None, room: str | None = None):
        self.path = path
        self.text = path.read_text(encoding="utf-8") if text is None else text
        self.room = path.parent.name if room is None else room

    @property
    def label(self) -> str:
        """room/file.c, as includes and excuses spell it."""
        return f"{self.room}/{self.path.name}"

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @cached_property
    def _split(self) -> tuple[str, str]:
        code, comments, at = [], [], 0
        for match in _TOKEN.finditer(self.text):
            plain = self.text[at : match.start()]
            code.append(plain)
            comments.append(_blank(plain))
            found = match.group()
            if match["comment"]:
                code.append(_blank(found))
                comments.append(found)
            else:
                code.append(found[0] + _blank(found[1:-1]) + found[-1])
                comments.append(_blank(found))
            at = match.end()
        code.append(self.text[at:])
        comments.append(_blank(self.text[at:]))
        return "".join(code), "".join(comments)

    @property
    def code(self) -> str:
        """The text with comments and the insides of strings blanked."""
        return self._split[0]

    @cached_property
    def comments(self) -> list[str]:
        """Line by line, the text with everything but comments blanked."""
        return self._split[1].splitlines()

    @cached_property
    def plain(self) -> str:
        """The code without preprocessor lines."""
        return _DIRECTIVE.sub(lambda match: _blank(match.group()), self.code)

    def line_of(self, offset: int) -> int:
        return self.text.count("\n", 0, offset) + 1

    @cached_property
    def includes(self) -> list[Include]:
        # From the raw text, because the scanner blanks what stands in quotes.
        return [
            Include(self.line_of(m.start(1)), m[1][1:-1], m[1].startswith("<"))
            for m in _INCLUDE.finditer(self.text)
            if self.code[m.start(1)] in '<"'
        ]

    @cached_property
    def functions(self) -> list[Function]:
        found, depth, start, opened = [], 0, 0, None
        for match in re.finditer(r"[{};]", self.plain):
            at, char = match.start(), match.group()
            if char == "{":
                if depth == 0:
                    head = _HEAD.search(self.plain[start:at])
                    opened = (head[1], start + head.start(1), at) if head else None
                depth += 1
            elif char == "}":
                depth -= 1
                if depth == 0:
                    if opened:
                        name, name_at, body_at = opened
                        found.append(
                            Function(
                                name,
                                self.line_of(name_at),
                                self.line_of(at),
                                self.plain[body_at + 1 : at],
                                self.line_of(body_at),
                            )
                        )
                    start = at + 1
            elif depth == 0:
                start = at + 1
        return found

    def calls(self, pattern: str):
        """(name, line) of each call of a function whose name matches."""
        for match in re.finditer(rf"(?<![\w.>])({pattern})\s*\(", self.plain):
            yield match[1], self.line_of(match.start(1))


def sources() -> list[CFile]:
    return [CFile(path) for path in sorted(CSRC.glob("*/*.[ch]"))]
