"""Thousands of requests of every kind, cut and given up and refused: does each end, and do the books agree?"""

from serving_parts import soak_http, soak_inside
from serving_parts.plan import Plan
from serving_parts.rows import ServingRow


def measure(plan: Plan) -> list[ServingRow]:
    """Rows of the long soak over HTTP, and of a shorter one in the engine's process, which knows every cut reply."""
    return [*soak_http.measure(plan), *soak_inside.measure(plan)]
