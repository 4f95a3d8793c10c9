"""Rate limits, decided by a real server for many callers at once."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from itertools import product

import pytest

from footfall.accounts.limits import Window
from footfall.errors import UnavailableError
from footfall.live.connection import RedisConnection
from footfall.live.limiter import RedisRateLimiter
from tests.live.conftest import Valkey


@pytest.fixture
def limiter(connection: RedisConnection) -> RedisRateLimiter:
    return RedisRateLimiter(connection)


@pytest.fixture(params=["unix", "tcp"])
async def two_servers(
    valkey: Valkey, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[RedisRateLimiter, RedisRateLimiter]]:
    """Two limiters without anything in common but the server, as in two processes."""
    url = valkey.url if request.param == "unix" else valkey.tcp_url
    connections = RedisConnection(url), RedisConnection(url)
    yield RedisRateLimiter(connections[0]), RedisRateLimiter(connections[1])
    for connection in connections:
        await connection.aclose()


async def test_an_allowance_is_exact_over_servers_and_callers(
    two_servers: tuple[RedisRateLimiter, RedisRateLimiter], site_id: str
) -> None:
    windows = (Window(site_id, 100, 3600), Window(f"{site_id}-account", 1000, 3600))

    async def caller(number: int) -> list[tuple[bool, int]]:
        limiter = two_servers[number % 2]
        decisions = [await limiter.decide(windows) for _ in range(10)]
        return [(decision.allowed, decision.remaining) for decision in decisions]

    calls = await asyncio.gather(*map(caller, range(64)))
    flat = [decision for decisions in calls for decision in decisions]
    assert sorted(left for allowed, left in flat if allowed) == list(range(100))
    assert all(left == 0 for allowed, left in flat if not allowed)
    # What was denied was not spent in the other window either.
    last = await two_servers[0].decide((windows[1],))
    assert (last.allowed, last.remaining) == (True, 899)


async def test_more_callers_than_one_call_decides(limiter: RedisRateLimiter, site_id: str) -> None:
    window = Window(site_id, 450, 3600)
    decisions = await asyncio.gather(*(limiter.decide((window,)) for _ in range(700)))
    assert [d.allowed for d in decisions] == [True] * 450 + [False] * 250
    assert [d.remaining for d in decisions[:450]] == list(range(449, -1, -1))


async def test_a_window_begins_with_the_first_unit_spent(
    limiter: RedisRateLimiter, site_id: str
) -> None:
    window = Window(site_id, 2, 60)
    before = time.time()
    first = await limiter.decide((window,))
    after = time.time()
    second = await limiter.decide((window,))
    third = await limiter.decide((window,))
    assert before + 60 <= first.reset_at + 0.001
    assert first.reset_at <= after + 60 + 0.001
    assert [d.remaining for d in (first, second, third)] == [1, 0, 0]
    assert [d.allowed for d in (first, second, third)] == [True, True, False]
    assert first.reset_at == second.reset_at == third.reset_at
    assert (first.limit, first.retry_after_s, third.retry_after_s) == (2, 0, 60)


@pytest.mark.parametrize("spend_later_s", [0.0, 0.4])
async def test_a_request_passes_after_retry_after(
    limiter: RedisRateLimiter, site_id: str, spend_later_s: float
) -> None:
    window = Window(site_id, 1, 1)
    assert (await limiter.decide((window,))).allowed
    await asyncio.sleep(spend_later_s)
    denied = await limiter.decide((window,))
    assert not denied.allowed
    assert denied.retry_after_s == 1
    await asyncio.sleep(denied.retry_after_s)
    assert (await limiter.decide((window,))).allowed


async def test_a_request_passes_right_at_the_reset(limiter: RedisRateLimiter, site_id: str) -> None:
    window = Window(site_id, 1, 1)
    for _ in range(2):
        decision = await limiter.decide((window,))
        assert decision.allowed
        await asyncio.sleep(decision.reset_at - time.time())


async def test_the_tightest_window_is_reported(limiter: RedisRateLimiter, site_id: str) -> None:
    wide, narrow = Window(f"{site_id}-wide", 100, 10), Window(f"{site_id}-narrow", 3, 60)
    decision = await limiter.decide((wide, narrow))
    assert (decision.limit, decision.remaining) == (3, 2)
    await limiter.decide((narrow,), cost=2)
    denied = await limiter.decide((wide, narrow))
    assert (denied.allowed, denied.limit, denied.remaining) == (False, 3, 0)
    assert denied.retry_after_s == 60
    assert (await limiter.decide((wide,))).remaining == 98


async def test_a_denied_request_waits_for_all_windows_that_deny_it(
    limiter: RedisRateLimiter, site_id: str
) -> None:
    short, long = Window(f"{site_id}-a", 1, 10), Window(f"{site_id}-b", 1, 3600)
    assert (await limiter.decide((short, long))).allowed
    for order in ((short, long), (long, short)):
        denied = await limiter.decide(order)
        assert 3590 < denied.retry_after_s <= 3600


async def test_costs(limiter: RedisRateLimiter, site_id: str) -> None:
    window = Window(site_id, 10, 60)
    assert (await limiter.decide((window,), cost=7)).remaining == 3
    too_much = await limiter.decide((window,), cost=4)
    assert (too_much.allowed, too_much.remaining) == (False, 3)
    assert (await limiter.decide((window,), cost=3)).remaining == 0
    assert not (await limiter.decide((Window(f"{site_id}x", 10, 60),), cost=11)).allowed
    assert not (await limiter.decide((Window(f"{site_id}y", 0, 60),))).allowed


async def test_lengths_have_counters_of_their_own(limiter: RedisRateLimiter, site_id: str) -> None:
    await limiter.decide((Window(site_id, 5, 60),), cost=5)
    assert (await limiter.decide((Window(site_id, 5, 10),))).remaining == 4
    # A raised limit counts what was spent under the lower one.
    assert (await limiter.decide((Window(site_id, 8, 60),))).remaining == 2


async def test_subjects_of_any_text(limiter: RedisRateLimiter) -> None:
    for subject in ("ip:2001:db8::1", "名前 🎈", "a b\0c", ""):
        assert (await limiter.decide((Window(subject, 1, 60),))).allowed
        assert not (await limiter.decide((Window(subject, 1, 60),))).allowed


async def test_without_windows_everything_passes(limiter: RedisRateLimiter) -> None:
    assert (await limiter.decide(())).allowed


async def test_a_server_that_is_gone_and_comes_back(own_valkey: Valkey) -> None:
    connection = RedisConnection(own_valkey.url)
    limiter = RedisRateLimiter(connection)
    window = Window("x", 100, 60)
    assert (await limiter.decide((window,))).allowed
    own_valkey.kill()
    for _ in range(3):
        answers = await asyncio.gather(
            *(limiter.decide((window,)) for _ in range(5)), return_exceptions=True
        )
        assert all(isinstance(answer, UnavailableError) for answer in answers)
        assert {answer.reason for answer in answers if isinstance(answer, UnavailableError)} == {
            "REDIS_UNAVAILABLE"
        }
    own_valkey.start()
    assert (await limiter.decide((window,))).remaining == 99
    await connection.aclose()


@pytest.mark.parametrize("gone", range(3))
async def test_a_caller_that_goes_away_takes_nobody_with_it(
    limiter: RedisRateLimiter, site_id: str, gone: int
) -> None:
    window = Window(site_id, 10, 60)
    calls = [asyncio.create_task(limiter.decide((window,))) for _ in range(3)]
    await asyncio.sleep(0)
    calls[gone].cancel()
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(done[gone], asyncio.CancelledError)
    assert [d.allowed for d in done if not isinstance(d, BaseException)] == [True, True]


@pytest.mark.parametrize("seed", range(3))
async def test_decisions_are_those_of_a_recount(
    limiter: RedisRateLimiter, site_id: str, seed: int
) -> None:
    """Random requests for windows of many limits that share counters, none of which end."""
    pick = random.Random(seed)
    spent: Counter[tuple[str, int]] = Counter()
    ends: dict[tuple[str, int], float] = {}
    for _ in range(300):
        keys = pick.sample(list(product((f"{site_id}-a", f"{site_id}-b"), (600, 1200, 1800))), 3)
        windows = [Window(subject, pick.randint(0, 30), seconds) for subject, seconds in keys]
        windows = windows[: pick.randint(1, 3)]
        cost = pick.choice([0, 1, 1, 1, 3, 40])
        before = time.time()
        decision = await limiter.decide(windows, cost)
        keys = keys[: len(windows)]
        late = {
            key: ends.get(key, before + window.seconds)
            for key, window in zip(keys, windows, strict=True)
        }
        denying = [
            key
            for key, window in zip(keys, windows, strict=True)
            if spent[key] + cost > window.limit
        ]
        assert decision.allowed == (not denying)
        if decision.allowed and cost:
            spent.update(dict.fromkeys(keys, cost))
            ends |= late
        left = {key: w.limit - spent[key] for key, w in zip(keys, windows, strict=True)}
        # The one that keeps the request waiting longest, or else has the least left for longest.
        told = keys[decision.place]
        worst = denying or [key for key in keys if left[key] == min(left.values())]
        assert told in worst
        assert late[told] > max(late[key] for key in worst) - 5
        assert decision.limit == windows[decision.place].limit
        assert decision.remaining == max(0, left[told])
        assert decision.reset_at == pytest.approx(late[told], abs=5)
        assert decision.retry_after_s == (
            pytest.approx(late[told] - before, abs=5) if denying else 0
        )
    assert len(ends) == 6
