"""The documents are true: their Python runs, their commands exist, their lists are complete, their links lead on."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from journeyman import records
from journeyman.cli.main import app
from journeyman.config import Provider, Settings

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SKIP = re.compile(r"<!-- test: skip(?P<reason>.*?)-->\s*\Z", re.DOTALL)

page_by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


class Block(NamedTuple):
    """A fenced block of a page, and the line it starts at."""

    language: str
    text: str
    line: int


@page_by_page
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, in one namespace for each page, in an empty folder that is also the home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("JOURNEYMAN_HOME", str(tmp_path / "home"))
    namespace: dict[str, Any] = {"__name__": "__docs__"}
    for block in _blocks(page, "python"):
        padded = "\n" * block.line + block.text  # so that a traceback names the page's own lines
        exec(compile(padded, str(page), "exec"), namespace)


@page_by_page
def test_commands_exist(page: Path) -> None:
    for block in _blocks(page, "bash", "console", "sh"):
        for words in _commands(block):
            where = f"{page.name}, block at line {block.line}: {shlex.join(words)}"
            complaint = _wrong_with(words)
            assert complaint is None, f"{where}: {complaint}"


@page_by_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", FENCE.sub("", page.read_text())):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_glossary_holds_every_record_and_no_other() -> None:
    terms = set(re.findall(r"\*\*([\w, ]+)\*\*", (ROOT / "docs/glossary.md").read_text()))
    nouns = {name for name in records.__all__ if name[0].isupper() and not name.isupper()} - {"Frozen"}
    assert nouns - terms == set(), "records that the glossary does not explain"
    looks_like_code = {term for term in terms if re.search(r"[a-z][A-Z]", term)}
    assert looks_like_code - nouns == set(), "terms of the glossary that are no record"


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs/reference/settings.md").read_text()
    settings = {f"JOURNEYMAN_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"`(JOURNEYMAN_[A-Z_]*[A-Z])`", page)) == settings
    for field in Provider.model_fields:
        assert f"`{field}`" in page


def test_every_command_is_documented() -> None:
    page = (ROOT / "docs/reference/cli.md").read_text()
    commands = {f"journeyman {' '.join(path)}" for path, _ in _leaves(_tree())}
    assert set(re.findall(r"^### `(journeyman [a-z ]+?)(?: [^a-z`].*)?`$", page, re.MULTILINE)) == commands


def test_every_option_is_documented_and_no_other() -> None:
    page = (ROOT / "docs/reference/cli.md").read_text()
    for path, command in _leaves(_tree()):
        section = page.partition(f"### `journeyman {' '.join(path)}")[2].partition("\n##")[0]
        listed = "".join(line.partition(":")[0] for line in section.splitlines() if line.startswith("- "))
        options = {max(p.opts, key=len) for p in command.params if p.param_type_name == "option"}
        assert set(re.findall(r"`(--[\w-]+)`", listed)) == options, " ".join(path)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("journeyman promote support bank-1", None),
        ("journeyman promote", "alias"),
        ("journeyman promote support bank-1 too-much", "too-much"),
        ("journeyman promote --forse x support bank-1", "--forse"),
        ("journeyman promotion", "no command"),
        ("make no-such-target", "no target"),
    ],
)
def test_the_checker_itself_can_tell(line: str, complaint: str | None) -> None:
    found = _wrong_with(shlex.split(line))
    assert (found is None) if complaint is None else (complaint in str(found))


def _blocks(page: Path, *languages: str) -> Iterator[Block]:
    """The page's blocks in these languages, but for those that a comment skips for a reason."""
    text = page.read_text()
    for match in FENCE.finditer(text):
        skip = SKIP.search(text[: match.start()])
        if skip:
            assert skip["reason"].strip(), f"{page.name}: a skipped block needs a reason"
        elif match["language"] in languages:
            yield Block(match["language"], match["text"], text[: match.start("text")].count("\n"))


def _commands(block: Block) -> Iterator[list[str]]:
    """Every `journeyman …` and `make …` of a shell block, as words; a console's output lines are passed over."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    for line in lines:
        words: list[str] = []
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        for word in [*lexer, ";"]:
            if set(word) <= set(";&|()<>"):
                if words and words[0] in ("journeyman", "make"):
                    yield words
                words = []
            elif words or not re.fullmatch(r"[A-Z_]+=.*", word):
                words.append(word)


def _wrong_with(words: list[str]) -> str | None:
    """What is wrong with a command line; None when it would be understood."""
    program, *arguments = words
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        unknown = [word for word in arguments if "=" not in word and word not in targets]
        return f"no target {unknown[0]}; there is: {', '.join(targets)}" if unknown else None
    command = _tree()
    while hasattr(command, "commands"):
        if not arguments and command.invoke_without_command:
            return None
        name = arguments.pop(0) if arguments else ""
        if name.startswith("-"):
            return None if any(name in parameter.opts for parameter in command.params) else f"no option {name}"
        if name not in command.commands:
            return f"no command {name!r}; there is: {', '.join(command.commands)}"
        command = command.commands[name]
    return _misused(command, arguments)


def _misused(command: Any, arguments: list[str]) -> str | None:
    """Why these arguments do not fit the command; typer carries its own copy of click, so errors are told by name."""
    try:
        values, rest, _ = command.make_parser(typer.Context(command)).parse_args(list(arguments))
    except Exception as problem:
        return f"{type(problem).__name__}: {problem}"
    if rest:
        return f"nothing takes {' '.join(rest)}"
    missing = [p.name for p in command.params if p.required and not p.envvar and values.get(p.name) in (None, ())]
    return f"needs {', '.join(missing)}" if missing else None


def _tree() -> Any:
    return typer.main.get_command(app)


def _leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with the words that call it; a group may do something by itself, too."""
    if not hasattr(command, "commands"):
        yield path, command
        return
    if command.invoke_without_command:
        yield path, command
    for name, child in command.commands.items():
        yield from _leaves(child, (*path, name))
