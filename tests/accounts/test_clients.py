"""Client addresses: who is one client, and what is stored of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from footfall.accounts.clients import ClientSubjects
from footfall.accounts.ports import AccountStore
from footfall.accounts.salts import SaltCache
from footfall.accounts.sql import open_account_store

DAY_S = 86_400
MIDNIGHT = 20_000 * DAY_S


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AccountStore]:
    store = open_account_store(f"sqlite:///{tmp_path}/accounts.sqlite")
    yield store
    store.close()


class Server:
    """A server of its own on the store, at a time of its own."""

    def __init__(self, store: AccountStore, now: float = MIDNIGHT + 3600) -> None:
        salts = SaltCache(store, now_day=lambda: int(now) // DAY_S)
        self._subjects = ClientSubjects(salts, wall_clock=lambda: now)

    async def all(self, address: str, purpose: str = "authentication") -> list[str]:
        return await self._subjects.subjects(purpose, address, 60)

    async def one(self, address: str, purpose: str = "authentication") -> str:
        (subject,) = await self.all(address, purpose)
        return subject


async def test_servers_agree_and_clients_differ(store: AccountStore) -> None:
    server, other = Server(store), Server(store, MIDNIGHT + DAY_S - 1)
    subject = await server.one("203.0.113.7")
    assert subject == await other.one("203.0.113.7")
    assert subject.startswith("client:authentication:")
    assert len({subject, await server.one("203.0.113.8"), await server.one("")}) == 3
    assert subject != await server.one("203.0.113.7", "public")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:DB8:1:2::1", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:203.0.113.7", "203.0.113.7", True),
        ("::ffff:203.0.113.7", "::ffff:203.0.113.8", False),
        ("::1", "127.0.0.1", False),
    ],
)
async def test_who_is_one_client(store: AccountStore, one: str, other: str, same: bool) -> None:
    server = Server(store)
    assert (await server.one(one) == await server.one(other)) is same


async def test_a_subject_is_of_its_day_and_midnight_gives_nobody_two(store: AccountStore) -> None:
    before = await Server(store, MIDNIGHT - 0.5).one("203.0.113.7")
    for late in (0.0, 59.9):
        today, yesterday = await Server(store, MIDNIGHT + late).all("203.0.113.7")
        assert yesterday == before
        assert today == await Server(store, MIDNIGHT + 60).one("203.0.113.7")
    assert today != before


async def test_another_store_has_another_salt(store: AccountStore, tmp_path: Path) -> None:
    other = open_account_store(f"sqlite:///{tmp_path}/other.sqlite")
    assert await Server(store).one("203.0.113.7") != await Server(other).one("203.0.113.7")
    other.close()
