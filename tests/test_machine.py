"""The facts about a machine are complete enough to compare by, and hold nothing that points at its owner."""

import getpass
import json
import platform
from importlib.metadata import version
from pathlib import Path

from journeyman.machine import describe_machine


def test_the_facts_that_a_number_depends_on_are_there() -> None:
    machine = describe_machine()
    assert machine["cpu"]
    assert machine["cores"] >= 1
    assert machine["python"] == platform.python_version()
    assert machine["versions"]["pydantic"] == version("pydantic")
    assert json.loads(json.dumps(machine)) == machine


def test_nothing_names_the_host_the_user_or_a_folder() -> None:
    told = json.dumps(describe_machine())
    for private in (platform.node(), getpass.getuser(), str(Path.home()), str(Path.cwd())):
        assert f'"{private}"' not in told
        assert len(private) < 6 or private not in told
