"""An architecture's name to its value: `NAME[x<width>][d<depth>][@<resolution>][/<output stride>]`."""

import difflib
import re
from dataclasses import asdict, replace
from typing import Any

from eyas.arch.scale import at, deeper, strided, wider
from eyas.arch.spec import Arch, Preprocessing
from eyas.arch.tables import ARCHS
from eyas.errors import UserError

_NUMBER = r"\d+(?:\.\d+)?"
_FORM = re.compile(
    rf"(?P<name>[a-z][a-z0-9_]*?)(?:x(?P<width>{_NUMBER}))?(?:d(?P<depth>{_NUMBER}))?"
    r"(?:@(?P<resolution>\d{1,9}))?(?:/(?P<stride>\d{1,9}))?"
)

# What implementations of one table disagree on: weights fit only what they were trained with.
DIALECT = ("activation", "padding", "norm_eps", "preprocessing")


def parse(text: str) -> Arch:
    """`parse("mobilenet_v1x0.5@160")` is the paper's "0.50 MobileNet-160"; `str` of the result is the text again.

    Raises:
        UserError: the text has another form, the name is not known, or a dial is out of range.
    """
    form = _FORM.fullmatch(text.strip())
    if not form:
        raise UserError(
            f"architecture {text!r} is not of the form NAME[x<width>][d<depth>][@<resolution>][/<output stride>], "
            "for example mobilenet_v1x0.5@160 or mobilenet_v1x0.5@32/8"
        )
    name = form["name"]
    if name not in ARCHS:
        near = difflib.get_close_matches(name, ARCHS, n=3, cutoff=0.0)
        raise UserError(f"no architecture is named {name!r}; did you mean {' or '.join(near)}?")
    arch = ARCHS[name]
    if form["width"]:
        arch = wider(arch, float(form["width"]))
    if form["depth"]:
        arch = deeper(arch, float(form["depth"]))
    if form["stride"]:
        arch = strided(arch, int(form["stride"]))
    if form["resolution"]:
        arch = at(arch, int(form["resolution"]))
    return arch


def described(arch: Arch) -> dict[str, Any]:
    """An architecture as JSON: its text, and beside it where its weights' implementation departs from the table."""
    table = ARCHS.get(arch.name, arch)
    own = {name: value for name in DIALECT if (value := getattr(arch, name)) != getattr(table, name)}
    if "preprocessing" in own:
        facts = asdict(own["preprocessing"])
        # The whole image goes without saying, as in files from before there was a choice.
        own["preprocessing"] = facts if facts["view"] != 1 else {name: facts[name] for name in facts if name != "view"}
    return {"arch": str(arch)} | own


def from_description(facts: dict[str, Any]) -> Arch:
    """The architecture that was described.

    Raises:
        UserError: its text is none.
        KeyError, TypeError: `facts` were not written by `described`.
    """
    own = {name: facts[name] for name in DIALECT if name in facts}
    if given := own.get("preprocessing"):
        own["preprocessing"] = Preprocessing(**given | {name: tuple(given[name]) for name in ("mean", "std")})
    return replace(parse(facts["arch"]), **own)


def like(arch: Arch, model: Arch) -> Arch:
    """`arch` in the dialect of `model` where both are of one table, so that it can take over weights."""
    return replace(arch, **{name: getattr(model, name) for name in DIALECT}) if arch.name == model.name else arch
