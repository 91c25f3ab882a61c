"""Where on this machine Eyas keeps what can be made again."""

import os
from pathlib import Path

from eyas.errors import UserError


def user_cache() -> Path:
    """Where programs of this user keep such things: `$XDG_CACHE_HOME/eyas`, or `~/.cache/eyas`.

    Raises:
        UserError: this user has no home.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():  # the standard has relative ones ignored
        return base / "eyas"
    try:
        return Path.home() / ".cache" / "eyas"
    except RuntimeError:
        raise UserError("this user has no home folder to keep a cache in; set XDG_CACHE_HOME to a folder") from None
