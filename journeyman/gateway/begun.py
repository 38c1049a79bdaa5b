"""What a call under way needs: the gateway's parts, and what is known of the call when it begins."""

from dataclasses import dataclass

from journeyman.capture.spool import Spool
from journeyman.gateway.body import Asked
from journeyman.gateway.keys import Caller
from journeyman.gateway.ledger import Ledger
from journeyman.gateway.limits import Limiter
from journeyman.gateway.metrics import Metrics
from journeyman.gateway.names import Names
from journeyman.gateway.tries import Plan
from journeyman.gateway.upstreams import Sent, Upstreams
from journeyman.gateway.watch import Watch
from journeyman.records import Api
from journeyman.registry.resolve import Target


@dataclass(slots=True)
class Services:
    """What every call needs."""

    upstreams: Upstreams
    names: Names
    spool: Spool
    ledger: Ledger
    limiter: Limiter
    watch: Watch
    metrics: Metrics
    captured_in: bytes
    """The random name of the spool's folder, which an answer tells; empty when there is none."""
    timeout: float
    """The longest silence of an upstream, and the longest that a client may take nothing, in seconds."""


@dataclass(slots=True)
class Begun:
    """A call that may be made: what is asked for, by whom, and who is to answer.

    `number` is its name in the spool; `session` decides who answers of those who share an alias: without one, the `id`.
    """

    id: str
    api: Api
    asked: Asked
    plan: Plan
    target: Target
    caller: Caller
    sent: Sent
    number: int
    began: float
    session: str
