"""bfcl-eval's own checker, asked about the same calls.

Its module asks one table for each known model whether names lose their dots; that table imports the clients of some
twenty vendors, so a table of one name stands in for it. Everything that decides is theirs.
"""

import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

_TABLE = "bfcl_eval.constants.model_config"
_MODEL = "ours"


class TheirChecker:
    """`ast_checker` of the package in a folder."""

    def __init__(self, package: Path) -> None:
        table = ModuleType(_TABLE)
        table.MODEL_CONFIG_MAPPING = {_MODEL: SimpleNamespace(underscore_to_dot=True)}  # type: ignore[attr-defined]
        sys.modules[_TABLE] = table
        sys.path.insert(0, str(package))
        try:
            self._checker = importlib.import_module("bfcl_eval.eval_checker.ast_eval.ast_checker")
            self._language = importlib.import_module("bfcl_eval.constants.enums").Language.PYTHON
        finally:
            sys.path.remove(str(package))

    def judge(
        self,
        calls: list[tuple[str, Any]],
        functions: list[dict[str, Any]],
        answers: list[dict[str, Any]],
        category: str,
    ) -> bool:
        """Whether it finds the calls valid; calls whose arguments are no object never reach it there either."""
        if any(not isinstance(arguments, dict) for _, arguments in calls):
            return False
        made = [{name: arguments} for name, arguments in calls]
        found = self._checker.ast_checker(functions, made, answers, self._language, category, _MODEL)
        return bool(found["valid"])
