"""What people type."""

from __future__ import annotations

import zoneinfo

import pytest

from footfall.accounts.names import clean_email, clean_host, clean_name, clean_timezone
from footfall.errors import InvalidInputError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("News", "News"),
        ("  Daily News\n", "Daily News"),
        ("Caf\u0065\u0301", "Caf\u00e9"),
        ("日" * 128, "日" * 128),
        ("--plan", "--plan"),
    ],
)
def test_name(given: str, expected: str) -> None:
    assert clean_name(given) == expected


@pytest.mark.parametrize("given", ["", " \t ", "x" * 129, "a\0b", "a\nb", "a\x1b[31mb", "\udc80"])
def test_name_that_is_refused(given: str) -> None:
    with pytest.raises(InvalidInputError, match="Invalid name") as caught:
        clean_name(given)
    assert caught.value.violations[0].field == "name"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("ada@example.com", "ada@example.com"),
        (" Ada.L+news@Mail.Example.COM ", "ada.l+news@mail.example.com"),
        ("jürg@bücher.example", "jürg@xn--bcher-kva.example"),
    ],
)
def test_email(given: str, expected: str) -> None:
    assert clean_email(given) == expected


@pytest.mark.parametrize(
    "given",
    [
        "",
        "ada",
        "@example.com",
        "ada@",
        "ada@localhost",
        "a b@example.com",
        "ada@@example.com",
        "ada@exa mple.com",
        "ada@.com",
        "a" * 250 + "@example.com",
        "ada@example.com\0",
        "\udc80@example.com",
    ],
)
def test_email_that_is_refused(given: str) -> None:
    with pytest.raises(InvalidInputError, match="Invalid email") as caught:
        clean_email(given)
    str(caught.value).encode()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("news.example.com", "news.example.com"),
        ("News.Example.COM.", "news.example.com"),
        ("https://news.example.com/", "news.example.com"),
        ("http://news.example.com:8080", "news.example.com"),
        ("news.example.com:443", "news.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("localhost", "localhost"),
        ("127.0.0.1:8000", "127.0.0.1"),
        ("[2001:DB8::1]:8080", "2001:db8::1"),
        ("_dev.example", "_dev.example"),
        (" a.example ", "a.example"),
    ],
)
def test_host(given: str, expected: str) -> None:
    assert clean_host(given) == expected


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("", "is not a host"),
        ("https://", "is not a host"),
        ("news.example.com/sports", "such as news.example.com"),
        ("https://news.example.com/?a=b", "holds a path"),
        ("ftp://news.example.com", "no web address"),
        ("ada:secret@news.example.com", "user name"),
        ("news..example", "is not a host"),
        ("-a.example", "is not a host"),
        ("a b.example", "is not a host"),
        ("a.example:port", "cannot be read"),
        ("[::1", "cannot be read"),
        (".".join(["a" * 60] * 5), "is not a host"),
        ("a" * 64 + ".example", "is not a host"),
        ("*.example.com", "is not a host"),
        ("a\0.example", "is not a host"),
        ("\udc80.example", "is not a host"),
    ],
)
def test_host_that_is_refused(given: str, hint: str) -> None:
    with pytest.raises(InvalidInputError, match=hint) as caught:
        clean_host(given)
    str(caught.value).encode()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Europe/Zurich", "Europe/Zurich"),
        ("europe/zurich", "Europe/Zurich"),
        ("utc", "UTC"),
        ("America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
        (" Asia/Kathmandu ", "Asia/Kathmandu"),
    ],
)
def test_timezone(given: str, expected: str) -> None:
    assert clean_timezone(given) == expected
    assert zoneinfo.ZoneInfo(expected).key == expected


@pytest.mark.parametrize(
    ("given", "suggestion"),
    [
        ("Zurich", "Europe/Zurich"),
        ("Europe/Zürich", "Europe/Zurich"),
        ("Europe/Zuric", "Europe/Zurich"),
        ("Buenos Aires", "America/Argentina/Buenos_Aires"),
        ("Asia/Katmandhu", "Asia/Kathmandu"),
        ("new_york", "America/New_York"),
    ],
)
def test_timezone_that_is_nearly_one(given: str, suggestion: str) -> None:
    with pytest.raises(InvalidInputError, match=f"did you mean .*{suggestion}.*\\?$"):
        clean_timezone(given)


@pytest.mark.parametrize("given", ["", "Mars/Olympus", "+01:00", "../etc/passwd", "x" * 5000, "\0"])
def test_timezone_that_is_none(given: str) -> None:
    with pytest.raises(InvalidInputError, match="is not an IANA time zone") as caught:
        clean_timezone(given)
    assert len(str(caught.value)) < 300
