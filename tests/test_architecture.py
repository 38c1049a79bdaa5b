"""The layers of the design and the house rules, read from the source."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "journeyman"
FILES = sorted(ROOT.rglob("*.py"))

# From the bottom up. A package imports only from rows below its own; files of one package import each other freely.
ROWS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("records",),
    ("store", "rendering", "statistics", "prices", "config", "machine"),
    ("engines",),
    ("capture", "datasets", "rewards", "environments"),
    ("training", "evals", "registry", "prompts", "worlds"),
    ("improve",),
    ("gateway", "dashboard"),
    ("app", "worker", "client", "demos"),
    ("cli",),
    ("__main__",),
)
ROW = {package: number for number, row in enumerate(ROWS) for package in row}
NEEDS_TORCH = ("journeyman.training", "journeyman.engines.local")
FORBIDDEN = {"utils", "util", "helpers", "common", "base", "manager", "managers", "misc"}
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 60


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_of(module: str) -> str | None:
    """The row entry that a module of ours belongs to; None for `journeyman` itself and for everything foreign."""
    first, *rest = module.split(".")
    return rest[0] if first == "journeyman" and rest else None


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and module of every import; `from journeyman import x` counts as an import of `journeyman.x`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "." * node.level + (node.module or "")
            elif node.module == "journeyman":
                yield from ((node.lineno, f"journeyman.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module or ""


def import_problems(module: str, source: str) -> list[str]:
    """What is wrong with a module's imports: upward, sideways, relative, or to a package that no row knows."""
    own = package_of(module)
    problems = []
    for line, imported in imports(ast.parse(source)):
        target = package_of(imported)
        if imported.startswith("."):
            problems.append(f"line {line}: relative import {imported}")
        elif own is not None and target not in (None, own, "__version__") and ROW[str(target)] >= ROW[own]:
            problems.append(f"line {line}: {own} (row {ROW[own]}) imports {imported} (row {ROW[str(target)]})")
    return problems


def size_problems(source: str) -> list[str]:
    """Files and functions that are too long to be read in one go."""
    problems = []
    if len(source.splitlines()) > MOST_LINES:
        problems.append(f"{len(source.splitlines())} lines; at most {MOST_LINES}")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MOST_LINES_OF_A_FUNCTION:
                problems.append(
                    f"line {node.lineno}: {node.name} has {lines} lines; at most {MOST_LINES_OF_A_FUNCTION}"
                )
    return problems


def silence_problems(source: str) -> list[str]:
    """Errors that would be swallowed unseen."""
    return [
        f"line {node.lineno}: an error is swallowed"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or all(isinstance(each, ast.Pass) for each in node.body))
    ]


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_module_keeps_the_house_rules(path):
    source = path.read_text()
    problems = import_problems(module_name(path), source) + size_problems(source) + silence_problems(source)
    assert not problems, "\n".join([str(path.relative_to(ROOT.parent)), *problems])


def test_every_package_has_a_row():
    present = {package_of(module_name(path)) for path in FILES} - {None}
    assert present <= ROW.keys(), f"add to ROWS: {sorted(present - ROW.keys())}"


def test_no_file_or_folder_is_named_for_nothing():
    named = {part for path in FILES for part in path.relative_to(ROOT).with_suffix("").parts}
    assert not named & FORBIDDEN


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("journeyman.store.sql", "from journeyman.gateway.app import x"),
        ("journeyman.store.sql", "import journeyman.config"),
        ("journeyman.records.run", "from journeyman import store"),
        ("journeyman.evals.matrix", "def f():\n    from journeyman.registry import gates"),
        ("journeyman.store.sql", "from .messages import chain"),
        ("journeyman.errors", "from journeyman.records import Run"),
    ],
)
def test_imports_that_break_the_layers_are_found(module, source):
    assert import_problems(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("journeyman.store.sql", "from journeyman.store import messages\nfrom journeyman.errors import DiskFull"),
        ("journeyman.cli.main", "from journeyman import __version__\nfrom journeyman.app import build"),
        ("journeyman.gateway.app", "import json\nfrom starlette.routing import Route"),
    ],
)
def test_imports_that_keep_the_layers_are_fine(module, source):
    assert import_problems(module, source) == []


def test_long_and_silent_code_is_found():
    assert size_problems("x = 1\n" * 401)
    assert size_problems("def f():\n" + "    x = 1\n" * 60)
    assert not size_problems("def f():\n" + "    x = 1\n" * 59)
    assert silence_problems("try:\n    f()\nexcept ValueError:\n    pass")
    assert silence_problems("try:\n    f()\nexcept:\n    g()")
    assert not silence_problems("try:\n    f()\nexcept ValueError:\n    g()")


BLOCK_TORCH = """
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError("torch is blocked: only training/ and engines/local/ may need it")

sys.meta_path.insert(0, Blocked())
for module in sys.argv[1:]:
    importlib.import_module(module)
"""


def test_everything_else_works_without_torch():
    modules = [module_name(path) for path in FILES if path.name != "__main__.py"]
    light = [each for each in modules if not f"{each}.".startswith(tuple(f"{heavy}." for heavy in NEEDS_TORCH))]
    assert "journeyman.store.sql" in light
    done = subprocess.run([sys.executable, "-c", BLOCK_TORCH, *light], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_the_block_on_torch_holds():
    done = subprocess.run([sys.executable, "-c", BLOCK_TORCH, "torch"], capture_output=True, text=True, timeout=300)
    assert "torch is blocked" in done.stderr
