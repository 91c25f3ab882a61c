"""What plan.json says of its candidates, for the terminal and the report alike; it needs no torch."""

from typing import Any

from eyas.arch.budget import Budget

TITLES = {"size": "file size", "madds": "MAdds", "latency": "predicted latency"}


def front_shown(plan: dict[str, Any]) -> str:
    """The cost whose front says most: one that is limited, else MAdds; empty where there is no front."""
    names = plan.get("fronts", {})
    limits = Budget.parse(plan["budget"]) if plan["budget"] else Budget()
    limited = [what for what in ("latency", "size") if what in names and getattr(limits, what) is not None]
    return next(iter([*limited, *(what for what in ("madds", "size") if what in names)]), "")


def front_rows(plan: dict[str, Any], what: str) -> list[dict[str, Any]]:
    """The candidates on a front, the cheapest first."""
    by_name = {name_of(one): one for one in plan["candidates"]}
    return [by_name[name] for name in plan["fronts"][what]]


def name_of(one: dict[str, Any]) -> str:
    """`efficientnet_lite0x0.5@112 as onnx-int8`."""
    return f"{one['arch']} as {one['target']}"


def rated(one: dict[str, Any]) -> str | None:
    """`67.4`, `67.4 (i)` for interpolated, `67.4 (e)` for estimated; None where nothing is published."""
    if one.get("top1") is None:
        return None
    mark = "" if one["how"] == "published" else f" ({one['how'][0]})"
    return f"{one['top1']:.1f}{mark}"
