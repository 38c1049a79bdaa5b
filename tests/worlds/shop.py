"""A small real system for tests: a shop with a state, errors, ids that it makes up, and a counter."""

import copy
import random
from typing import Any

from journeyman.worlds.transitions import Transition, error_kind

TOOLS = ("read_item", "sell", "restock", "order", "cancel", "list_orders", "sign_in")


def begin(rng: random.Random) -> dict[str, Any]:
    names = rng.sample(["lamp", "chair", "desk", "clock", "mirror", "shelf", "basket", "candle"], 4)
    items = {name: {"stock": rng.randrange(1, 9), "price": rng.randrange(100, 900) / 10} for name in names}
    shop = {"items": items, "orders": {}, "next": rng.randrange(100, 900), "user": None, "watched": []}
    return {"shop": shop}


def act(state: dict[str, Any], tool: str, arguments: dict[str, Any]) -> Any:
    shop = state["shop"]
    item = shop["items"].get(arguments.get("item", ""))
    if tool == "sign_in":
        shop["user"] = arguments["name"]
        return {"signed_in": arguments["name"]}
    if tool == "list_orders":
        return {"orders": list(shop["orders"])}
    if tool == "cancel":
        if arguments["order"] not in shop["orders"]:
            return {"error": f"no order {arguments['order']}"}
        del shop["orders"][arguments["order"]]
        return {"cancelled": arguments["order"]}
    if item is None:
        return {"error": f"no item called {arguments['item']}"}
    if tool == "read_item":
        return dict(item)
    if tool == "restock":
        item["stock"] += arguments["count"]
        return {"stock": item["stock"]}
    if tool == "sell":
        if item["stock"] < arguments["count"]:
            return {"error": f"only {item['stock']} left"}
        item["stock"] -= arguments["count"]
        return {"sold": arguments["count"], "left": item["stock"]}
    if shop["user"] is None:
        return {"error": "sign in first"}
    number = str(shop["next"])
    shop["next"] += 1
    shop["orders"][number] = {"item": arguments["item"], "by": shop["user"], "state": "open"}
    return {"order": number, "state": "open"}


def session(seed: int, calls: int = 12, policy: str = "plain") -> list[Transition]:
    rng = random.Random(f"{policy}/{seed}")
    state = begin(rng)
    found = []
    for order in range(calls):
        tool = rng.choice(TOOLS)
        names = [*state["shop"]["items"], "ghost"]
        arguments: dict[str, Any] = {}
        if tool in ("read_item", "sell", "restock", "order"):
            arguments["item"] = rng.choice(names)
        if tool in ("sell", "restock"):
            arguments["count"] = rng.randrange(1, 8)
        if tool == "cancel":
            arguments["order"] = rng.choice([*state["shop"]["orders"], "7"])
        if tool == "sign_in":
            arguments["name"] = rng.choice(["ada", "bob", "cleo", "dan"])
        before = copy.deepcopy(state)
        answer = act(state, tool, arguments)
        after = copy.deepcopy(state)
        kind = error_kind(answer, arguments)
        found.append(Transition(tool, arguments, answer, f"{policy}-{seed}", order, kind, before=before, after=after))
    return found


def sessions(count: int, first: int = 0, policy: str = "plain") -> list[Transition]:
    return [each for seed in range(first, first + count) for each in session(seed, policy=policy)]
