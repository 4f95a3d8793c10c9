"""What people type: names, e-mail addresses, hosts, time zones and words of a short list, checked
and made uniform.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import unicodedata
import zoneinfo
from enum import StrEnum
from functools import cache
from typing import TypeVar
from urllib.parse import urlsplit

from footfall.errors import FieldViolation, InvalidInputError

_Choice = TypeVar("_Choice", bound=StrEnum)

NAME_CHARACTERS_MAX = 128
_EMAIL_CHARACTERS_MAX = 254
_HOST_CHARACTERS_MAX = 253
_LOCAL_PART = re.compile(r"[^\s@\x00-\x1f\x7f\ud800-\udfff\"(),:;<>\[\\\]]{1,64}")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII)


def clean_name(text: str, field: str = "name") -> str:
    """Return a name without surrounding space and in Unicode's composed form, 1 to 128
    characters long.
    """
    name = unicodedata.normalize("NFC", text.strip())
    if not name:
        raise invalid(field, "must not be empty")
    if len(name) > NAME_CHARACTERS_MAX:
        raise invalid(field, f"has {len(name)} characters; {NAME_CHARACTERS_MAX} are allowed")
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in name):
        raise invalid(field, "must not contain control characters")
    return name


def clean_email(text: str) -> str:
    """Return an e-mail address in lower case; only its form is checked."""
    email = unicodedata.normalize("NFC", text.strip())
    local, _, domain = email.rpartition("@")
    shown = _shown(text)
    if len(email) > _EMAIL_CHARACTERS_MAX or not _LOCAL_PART.fullmatch(local):
        raise invalid("email", f"{shown} is not an e-mail address, as in ada@example.com")
    host = _ascii_host(domain)
    if host is None or "." not in host:
        raise invalid("email", f"{shown} does not end in a domain, as in ada@example.com")
    return f"{local.lower()}@{host}"


def clean_host(text: str) -> str:
    """Return a site's host: lower case, in ASCII (IDNA), without scheme, port, path or a final
    dot.

    Whole URLs are accepted, because people paste them; what else they hold is not.
    """
    given = text.strip()
    shown = _shown(text)
    try:
        parts = urlsplit(given if "://" in given else f"//{given}")
        name = parts.hostname or ""
        _ = parts.port
    except ValueError:
        raise invalid("host", f"{shown} cannot be read; give the host alone") from None
    if parts.scheme not in {"", "http", "https"}:
        raise invalid("host", f"{shown} is no web address; give the host alone")
    if parts.username is not None:
        raise invalid("host", f"{shown} holds a user name; give the host alone")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise invalid("host", f"{shown} holds a path; a site is a whole host, such as {name}")
    host = _ascii_host(name)
    if host is None:
        raise invalid("host", f"{shown} is not a host, as in news.example.com")
    return host


def clean_timezone(text: str) -> str:
    """Return an IANA time zone's name as it is spelt there; a wrong one is refused with the
    nearest names.
    """
    name = text.strip()
    known = _timezones()
    if name.lower() in known:
        return known[name.lower()]
    # People know the city better than the continent.
    cities = {key.rpartition("/")[2]: key for key in reversed(known)}
    near = [cities[city] for city in _nearest(name.rpartition("/")[2], cities)]
    near += [key for key in _nearest(name, known) if key not in near]
    hint = ""
    if near:
        hint = "; did you mean " + " or ".join(known[key] for key in near[:2]) + "?"
    raise invalid("timezone", f"{_shown(text)} is not an IANA time zone{hint}")


def clean_choice(choices: type[_Choice], text: str, field: str) -> _Choice:
    """Return the choice that the text spells, whatever the case of its letters."""
    try:
        return choices(text.strip().lower())
    except ValueError:
        known = ", ".join(choice.value for choice in choices)
        raise invalid(field, f"{_shown(text)} is not one of {known}") from None


def _nearest(name: str, candidates: dict[str, str]) -> list[str]:
    return difflib.get_close_matches(name.lower().replace(" ", "_"), candidates, n=2, cutoff=0.75)


@cache
def _timezones() -> dict[str, str]:
    return {name.lower(): name for name in sorted(zoneinfo.available_timezones())}


def _ascii_host(name: str) -> str | None:
    """Return a host in lower-case ASCII, or None if it is none."""
    host = name.lower().removesuffix(".")
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    if len(host) > _HOST_CHARACTERS_MAX:
        return None
    if all(_LABEL.fullmatch(label) for label in host.split(".")):
        return host
    try:
        return str(ipaddress.IPv6Address(host))
    except ValueError:
        return None


def _shown(text: str) -> str:
    """Return the text as a message may hold it: quoted, escaped and not too long."""
    return ascii(text) if len(text) <= 80 else ascii(text[:77]) + "…"


def invalid(field: str, fault: str) -> InvalidInputError:
    """Return the error that says what is wrong with a field."""
    return InvalidInputError(
        f"Invalid {field}: {fault}.".replace("?.", "?"), violations=[FieldViolation(field, fault)]
    )
