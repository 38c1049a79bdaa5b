"""Simulated users as a file: how a domain talks, how its users do, who they are, and how like the real ones."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from journeyman.errors import InvalidInput, NotFound
from journeyman.records import Exchange, Frozen
from journeyman.worlds.environment import HELD_OUT
from journeyman.worlds.state import drawn
from journeyman.worlds.users.card import OwnTool, Style, Talk, UserCard
from journeyman.worlds.users.likeness import UNCALIBRATED, UserLikeness
from journeyman.worlds.users.mined_cards import card_of, observed
from journeyman.worlds.users.mining import Dialogue, dialogues_by_session, fit_style
from journeyman.worlds.world import World


class Domain(Frozen):
    """How talk is understood in a domain, and what only its users can do."""

    talk: Talk
    tools: tuple[OwnTool, ...] = ()


class Users(Frozen):
    """Users fitted to captured conversations.

    `cards` are by session, without the style, and only where a `world` was given: without a system nothing can be
    observed of whether a user was served. `left_out` counts the sessions that gave no card, by reason. `held_out` are
    the sessions that nothing was fitted to; `likeness` is measured on them, against `agent`.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    domain: Domain
    style: Style
    where: str = ""
    world: str | None = None
    cards: dict[str, UserCard] = Field(default_factory=dict)
    left_out: dict[str, int] = Field(default_factory=dict)
    held_out: tuple[str, ...] = ()
    likeness: UserLikeness | None = None
    agent: str | None = None

    @property
    def statement(self) -> str:
        """What a report says of how these users were made."""
        if self.likeness is not None:
            return f"{self.likeness.statement}; against the agent {self.agent}"
        return f"fitted to {self.style.conversations} real conversations; {UNCALIBRATED}"

    def save(self, folder: Path) -> Path:
        """Write them to `NAME.json` in the folder; what was there under that name is replaced."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        return path


async def fit_users(
    name: str, exchanges: Iterable[Exchange], domain: Domain, *, where: str = "", world: World | None = None
) -> Users:
    """Fit a style and, in a world, a card for each session that the world knows; one session in four is held out.

    InvalidInput without a conversation to fit to.
    """
    dialogues = dialogues_by_session(exchanges)
    held_out = tuple(session for session in sorted(dialogues) if is_held_out(session))
    style = fit_style([each for session, each in sorted(dialogues.items()) if session not in held_out], domain.talk)
    cards: dict[str, UserCard] = {}
    left_out: dict[str, int] = {}
    for session, dialogue in sorted(dialogues.items()) if world is not None else ():
        assert world is not None
        found = await _card(session, dialogue, domain, world)
        if isinstance(found, str):
            left_out[found] = left_out.get(found, 0) + 1
        else:
            cards[session] = found
    return Users(
        name=name, domain=domain, style=style, where=where, world=None if world is None else world.name, cards=cards,
        left_out=left_out, held_out=held_out,
    )  # fmt: skip


def is_held_out(session: str) -> bool:
    """Whether nothing may be fitted to this session: the same ones that a world's suite holds out."""
    return drawn(0, "split", session) % HELD_OUT == 0


def held_out_dialogues(users: Users, exchanges: Iterable[Exchange]) -> list[Dialogue]:
    """The real conversations that likeness is measured on."""
    return [each for session, each in dialogues_by_session(exchanges).items() if session in users.held_out]


def load_users(name: str, folder: Path) -> Users:
    """The users of that name; NotFound with those that are there, InvalidInput for a file that is none."""
    path = folder / f"{name}.json"
    if not path.is_file():
        known = sorted(each.stem for each in folder.glob("*.json")) if folder.is_dir() else []
        raise NotFound("users", name, known, f"Fit some: journeyman users fit {name} --talk TALK")
    try:
        return Users.model_validate_json(path.read_bytes())
    except ValidationError as problem:
        raise InvalidInput(f"{path} holds no users: {problem.errors()[0]['msg']}; fit them anew") from problem


def read_domain(file: Path) -> Domain:
    """A domain from YAML or JSON: the fields of `Talk`, and `tools`. InvalidInput says what is wrong with it."""
    try:
        written: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as problem:
        raise InvalidInput(f"the talk {file} cannot be read ({problem}); nothing was fitted") from problem
    if not isinstance(written, Mapping):
        raise InvalidInput(f"the talk {file} is no mapping; docs/guides/users.md says what it holds")
    try:
        return Domain(talk=Talk.model_validate({k: v for k, v in written.items() if k != "tools"}),
                      tools=tuple(map(OwnTool.model_validate, written.get("tools") or ())))  # fmt: skip
    except ValidationError as problem:
        first = problem.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InvalidInput(f"the talk {file}: {place}: {first['msg']}; nothing was fitted") from problem


async def _card(session: str, dialogue: Dialogue, domain: Domain, world: World) -> UserCard | str:
    documents: Sequence[Mapping[str, Any]] | str = await observed(session, dialogue, world)
    return documents if isinstance(documents, str) else card_of(session, dialogue, documents, domain)
