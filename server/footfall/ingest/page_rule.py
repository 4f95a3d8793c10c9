"""Which paths of a web server are pages, and which are parts of pages or files."""

from __future__ import annotations

import re
import tomllib
from importlib import resources

_EXTENSION = re.compile(r"[^/]*\.([A-Za-z0-9]{1,12})")


def _asset_extensions() -> frozenset[str]:
    """Read the data file that is installed beside this module."""
    text = resources.files(__package__).joinpath("page_rule.toml").read_text("utf-8")
    return frozenset(name for group in tomllib.loads(text).values() for name in group)


#: Extensions, in lower case, of files that are not pages.
ASSET_EXTENSIONS = _asset_extensions()


def is_asset(target: str) -> bool:
    """Whether a request's target, a path with or without a query, is that of an asset."""
    path = target.partition("?")[0].partition("#")[0]
    match = _EXTENSION.fullmatch(path, path.rfind("/") + 1)
    return match is not None and match[1].lower() in ASSET_EXTENSIONS
