"""Suites by name: our own, and those of a user's module."""

import importlib
import os
import sys
from typing import Any, cast

from journeyman.environments.ensemble import EnsembleSuite
from journeyman.environments.environment import Suite
from journeyman.errors import InvalidInput, NotFound

SUITES = {
    "bank": "journeyman.demos.bank.environment:BankSuite",
    "few-shot": "journeyman.environments.tasks.few_shot:FewShotSuite",
    "price-tool": "journeyman.environments.tasks.price_tool:PriceToolSuite",
}
"""Where the suites lie that have a name."""
FAMILIES = {
    "agentdojo": "journeyman.environments.adapters.agentdojo:agentdojo_suite",
    "bfcl": "journeyman.environments.adapters.bfcl:bfcl_suite",
    "openenv": "journeyman.environments.adapters.openenv:openenv_suite",
    "reasoning-gym": "journeyman.environments.adapters.reasoning_gym:reasoning_gym_suite",
    "textworld-express": "journeyman.environments.adapters.textworld_express:textworld_express_suite",
    "users": "journeyman.worlds.users.in_world:users_suite",
    "verifiers": "journeyman.environments.adapters.verifiers:verifiers_suite",
    "world": "journeyman.worlds.environment:world_suite",
    "world-model": "journeyman.worlds.learned.suite:prediction_suite",
}
"""Where the functions lie that make a suite of what is named after a slash: a package's task (`bfcl/base`), a world."""


def load_suite(name: str) -> Suite:
    """The suite called `name`: one of our own, a package's (`bfcl/base`), or `module:attribute`, a suite or a class
    that makes one.

    Several names with commas between them are an ensemble: each scenario is drawn from one of them. NotFound for an
    unknown name, InvalidInput for what cannot be imported or is no suite.
    """
    if "," in name:
        return EnsembleSuite([load_suite(each.strip()) for each in name.split(",")])
    address, (family, slash, task) = SUITES.get(name, name), name.partition("/")
    if slash and family in FAMILIES:
        suite = load_attribute(FAMILIES[family], "environment", name, own=False)(task)
    elif ":" in address:
        suite = load_attribute(address, "environment", name, own=address == name)
    else:
        known = [*SUITES, *(f"{family}/TASK" for family in FAMILIES)]
        raise NotFound("environment", name, known, "A suite of your own is written module:attribute")
    if not all(hasattr(suite, member) for member in ("name", "scenarios", "environment")):
        raise InvalidInput(f"{name} is no suite: it needs a `name`, `scenarios(…)` and `environment(…)`")
    return cast(Suite, suite)


def load_attribute(address: str, what: str, name: str, *, own: bool = True) -> Any:
    """What `module:attribute` names, made if it is a class; modules of one's `own` are looked for here, too.

    InvalidInput, which calls it `what` of that `name`, when it cannot be imported.
    """
    module_name, _, attribute = address.partition(":")
    if own and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise InvalidInput(f"cannot load the {what} {name}: {error}; nothing was started") from error
    return found() if isinstance(found, type) else found
