"""An architecture's name to its value: `NAME[x<width>][d<depth>][@<resolution>][/<output stride>]`."""

import difflib
import re

from eyas.arch.scale import at, deeper, strided, wider
from eyas.arch.spec import Arch
from eyas.arch.tables import ARCHS
from eyas.errors import UserError

_NUMBER = r"\d+(?:\.\d+)?"
_FORM = re.compile(
    rf"(?P<name>[a-z][a-z0-9_]*?)(?:x(?P<width>{_NUMBER}))?(?:d(?P<depth>{_NUMBER}))?"
    r"(?:@(?P<resolution>\d{1,9}))?(?:/(?P<stride>\d{1,9}))?"
)


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
        near = difflib.get_close_matches(name, ARCHS, n=3, cutoff=0.4) or sorted(ARCHS)
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
