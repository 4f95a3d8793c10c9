"""What a search for pages looks through, and how it is asked.

A page's text is its host and path, its title and its author. Both it and what is looked for are
brought to one form here and nowhere else: an engine's own lower() has other rules for "İ", "ß" and
"Σ" than the next one's.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote

from footfall.ingest.enrich.url import page_address
from footfall.ingest.model import Page

_SCHEME = re.compile(r"https?://", re.IGNORECASE)


def page_text(page: Page) -> str:
    """Return the text in which a page is found.

    An address with percent-encoding is there twice: as it is stored, and as people read it.
    """
    address = f"{page.host}{page.path}"
    parts = [address, page.title, page.author]
    if "%" in address:
        parts.insert(1, unquote(address, errors="replace"))
    return _folded("\n".join(parts))


def search_key(text: str) -> str:
    """Return the form of what somebody looks for that a page's text contains; "": every page's.

    An address may be pasted whole: its scheme is dropped, and so is what is dropped from the
    addresses of page views (fragment, campaign tags, a slash at the end).
    """
    text = text.strip()
    scheme = _SCHEME.match(text)
    if scheme is not None:
        address = page_address(text)
        if address is not None and address.path != "/":
            text = f"{address.host}{address.path}"
        else:
            text = text[scheme.end() :]
    return _folded(text)


def _folded(text: str) -> str:
    # Folding can leave letters and their marks apart that were one character, and the other way
    # about, so the composed form is made last.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
