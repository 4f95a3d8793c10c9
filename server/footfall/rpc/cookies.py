"""The session cookie: reading it, sending it, and who may use it."""

from __future__ import annotations

from urllib.parse import urlsplit

from footfall.errors import ForbiddenError
from footfall.rpc.call import TRANSCODED, Call

COOKIE = "footfall_session"
_ATTRIBUTES = "Path=/; Secure; HttpOnly; SameSite=Lax"

#: What a browser says of a request that a page of ours made, or the person.
_OWN_SITES = frozenset({"same-origin", "none"})


def session_id(call: Call) -> str | None:
    """Return what the call's cookie holds, whatever it is; None without one, or with an empty
    one.

    Of several the first counts: browsers send the one with the longest path first.
    """
    # The call's own metadata has but one value a key, and HTTP/2 may send a header a cookie.
    for key, header in call.context.invocation_metadata() or ():
        if key != "cookie" or not isinstance(header, str):
            continue
        for pair in header.split(";"):
            name, _, value = pair.partition("=")
            if name.strip() == COOKIE and value.strip():
                return value.strip()
    return None


def set_cookie(id_: str, max_age_s: int) -> tuple[str, str]:
    """Return the metadata that gives a browser the session's id."""
    return "set-cookie", f"{COOKIE}={id_}; {_ATTRIBUTES}; Max-Age={max_age_s}"


def expire_cookie() -> tuple[str, str]:
    """Return the metadata that takes the cookie from a browser."""
    return set_cookie("", 0)


def require_own_page(call: Call) -> None:
    """Raise ForbiddenError (CROSS_ORIGIN) for a call that may change something and that a page of
    another origin has made a browser send.

    Browsers say so themselves, in headers that no page can write; programs send neither and pass.
    """
    metadata = call.metadata
    if metadata.get(TRANSCODED) == "GET":
        return
    site, origin = metadata.get("sec-fetch-site"), metadata.get("origin")
    if site is not None:
        own = site in _OWN_SITES
    elif origin is not None:
        host = _host(origin)
        own = host is not None and host == _host(f"//{metadata.get('x-forwarded-host', '')}")
    else:
        own = True
    if not own:
        raise ForbiddenError("A page of another origin may not do this.", "CROSS_ORIGIN")


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
