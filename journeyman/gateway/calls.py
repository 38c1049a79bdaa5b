"""The hot path: `POST` to a model's API. Check who asks, read what for, resolve, and hand over to `Forward`."""

import time

from journeyman.capture.frames import CallStart
from journeyman.engines.headers import EXTERNAL_ID, PERSON, SESSION, TAGS, TRACE, read_tags
from journeyman.engines.visitors import Visitors
from journeyman.errors import JourneymanError, NotFound
from journeyman.gateway.asgi import ClientGone, Receive, Scope, Send, read_body, send_error
from journeyman.gateway.begun import Begun, Services
from journeyman.gateway.body import Asked, read_asked
from journeyman.gateway.booking import ENGINE
from journeyman.gateway.call import CallIds, microseconds
from journeyman.gateway.forward import Forward
from journeyman.gateway.keys import Keys
from journeyman.gateway.tries import Plan, Routes
from journeyman.gateway.upstreams import PATHS, sent_on
from journeyman.gateway.validate import read_request
from journeyman.records import Api
from journeyman.registry.resolve import Target

ROUTES: dict[str, Api] = {f"/v1{path}": api for api, path in PATHS.items()}
_OURS = {
    SESSION.encode(): "session", EXTERNAL_ID.encode(): "external_id", PERSON.encode(): "person",
    TRACE.encode(): "traceparent",
}  # fmt: skip
_SESSION, _TAGS = SESSION.encode(), TAGS.encode()


class Calls:
    """Answers the five APIs. A request that is refused here never was a call, and is not captured."""

    def __init__(self, services: Services, keys: Keys, routes: Routes, visitors: Visitors, most_bytes: int) -> None:
        self._services = services
        self._keys, self._routes, self._visitors = keys, routes, visitors
        self._most_bytes = most_bytes
        self._ids = CallIds()

    async def __call__(self, api: Api, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            call = await self._begin(api, scope["headers"], receive)
        except ClientGone:
            return
        except JourneymanError as error:
            self._services.metrics.refused(error.code)
            await send_error(send, error, api=api)
            return
        await Forward(self._services, call, send, receive).run()

    async def _begin(self, api: Api, headers: list[tuple[bytes, bytes]], receive: Receive) -> Begun:
        began, at = time.monotonic(), microseconds()
        services = self._services
        if refusal := self._visitors.refusal("POST", headers, json_only=True):
            raise refusal
        told = dict(headers)
        caller = await self._keys.check(credentials(told))
        services.limiter.admit(caller)
        raw = await read_body(receive, self._most_bytes, told.get(b"content-length"))
        services.metrics.received(len(raw))
        asked = read_asked(raw)
        if caller.aliases:
            self._keys.allows(caller, asked.model)
        plan = self._routes.plan(asked.model)
        id = self._ids.new(at)
        session = told[_SESSION].decode("latin-1") if told.get(_SESSION) else id
        target = services.names.known(plan.names[0], session)
        if target is None:
            plan, target = await self._first_target(plan, session)
        if target.provider is None and api == "chat":
            read_request(raw)
        sent = sent_on(headers, known_callers=caller.known)
        call = Begun(id, api, asked, plan, target, caller, sent, 0, began, session)
        call.number = services.spool.start(_start(call, at, told), raw)
        if caller.durable:
            await services.spool.synced()
        return call

    async def _first_target(self, plan: Plan, session: str) -> tuple[Plan, Target]:
        """The first of the plan's targets that exists, and the plan from there on."""
        for place, name in enumerate(plan.names[:-1]):
            try:
                return plan._replace(names=plan.names[place:]), await self._services.names.target(name, session)
            except NotFound:
                continue
        last = plan.names[-1:]
        return plan._replace(names=last), await self._services.names.target(plan.names[-1], session)


def credentials(told: dict[bytes, bytes]) -> str | None:
    """The caller's key as an Authorization header has it; Anthropic's clients send theirs as `x-api-key`."""
    given = told.get(b"authorization")
    if given is not None:
        return given.decode("latin-1")
    key = told.get(b"x-api-key")
    return None if key is None else f"Bearer {key.decode('latin-1')}"


def _start(call: Begun, at: int, told: dict[bytes, bytes]) -> CallStart:
    target, caller = call.target, call.caller
    start: CallStart = {
        "id": call.id,
        "at": at,
        "api": call.api,
        "source": "gateway",
        "model": call.asked.model,
        "upstream": target.provider or ENGINE,
        "served": target.base,
        "adapter": target.adapter.id if target.adapter else None,
        "key": caller.fingerprint,
        "project": caller.project,
        # An engine's tokens are booked as the engine counts them. Who answers in the end, the call's end tells.
        "books": target.provider is not None or len(call.plan.names) > 1,
    }
    for name, field in _OURS.items():
        if name in told:
            start[field] = told[name].decode("latin-1")  # type: ignore[literal-required]
    tags = _tags(call.asked, told)
    if tags:
        start["tags"] = tags
    return start


def _tags(asked: Asked, told: dict[bytes, bytes]) -> dict[str, str]:
    given = told.get(_TAGS)
    return asked.metadata if given is None else asked.metadata | read_tags(given.decode("latin-1"))
