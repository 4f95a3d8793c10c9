"""Group commit: who shares a commit, who gets which answer, and what a fault takes with it."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from footfall.errors import FootfallError, InvalidInputError, OverloadedError, UnavailableError
from footfall.ingest.commit import GroupCommitter
from footfall.ingest.model import CommitOutcome, EventBatch, EventTable, Removal
from tests.ingest.values import MemoryWriter, small_batch


@pytest.fixture
def writer() -> MemoryWriter:
    return MemoryWriter()


@pytest.fixture
async def committer(writer: MemoryWriter) -> AsyncIterator[GroupCommitter]:
    committer = GroupCommitter(writer)
    committer.start()
    yield committer
    writer.may_commit.set()
    await committer.drain()


async def held(writer: MemoryWriter, committer: GroupCommitter) -> asyncio.Task[CommitOutcome]:
    """Let a batch of one row begin its commit and not end it."""
    writer.may_commit.clear()
    writer.entered.clear()
    task = asyncio.create_task(committer.commit(small_batch("held")))
    await asyncio.to_thread(writer.entered.wait, 30)
    return task


async def queued(
    committer: GroupCommitter, *batches: EventBatch
) -> list[asyncio.Task[CommitOutcome]]:
    """Queue batches while a commit is held, in their order."""
    tasks = [asyncio.create_task(committer.commit(batch)) for batch in batches]
    await asyncio.sleep(0)
    return tasks


async def test_a_lone_batch_is_committed_at_once(
    writer: MemoryWriter, committer: GroupCommitter
) -> None:
    outcome = await committer.commit(small_batch("a", rows=3))
    assert outcome.last_seq == 1
    assert [[batch.columns["url"] for batch in group] for group in writer.commits] == [
        [["a-0", "a-1", "a-2"]]
    ]


async def test_batches_that_wait_share_the_next_commit(
    writer: MemoryWriter, committer: GroupCommitter
) -> None:
    first = await held(writer, committer)
    others = await queued(committer, *(small_batch(f"b{n}") for n in range(100)))
    writer.may_commit.set()
    outcomes = await asyncio.gather(first, *others)
    assert [len(group) for group in writer.commits] == [1, 100]
    # Everyone has the answer to their own batch.
    assert [outcome.last_seq for outcome in outcomes] == list(range(1, 102))
    assert len(writer.threads) == 1


async def test_a_commit_takes_no_more_than_its_bounds(writer: MemoryWriter) -> None:
    committer = GroupCommitter(writer, commit_rows_max=10, commit_text_max=1000)
    committer.start()
    first = await held(writer, committer)
    heavy = EventBatch(EventTable.API_REQUESTS, "t", 0, {}, [bytes(16)], text_size=900)
    sizes = [4, 4, 4, 25, 1, 1]
    tasks = await queued(
        committer, *(small_batch(f"s{n}", rows=n) for n in sizes), heavy, heavy, heavy
    )
    writer.may_commit.set()
    await asyncio.gather(first, *tasks)
    await committer.drain()
    assert [[len(batch) for batch in group] for group in writer.commits] == [
        [1],
        [4, 4],
        [4],
        [25],
        [1, 1, 1],
        [1],
        [1],
    ]


async def test_a_full_queue_refuses_with_a_hint(writer: MemoryWriter) -> None:
    committer = GroupCommitter(writer, queue_events_max=10, queue_requests_max=4)
    committer.start()
    first = await held(writer, committer)
    fits = await queued(committer, small_batch("fits", rows=9))
    with pytest.raises(OverloadedError) as refused:
        await committer.commit(small_batch("over"))
    assert refused.value.retry_after_s == 1
    assert committer.stats.refused_requests == 1
    assert (committer.stats.queued_events, committer.stats.queued_requests) == (10, 2)
    writer.may_commit.set()
    await asyncio.gather(first, *fits)
    await committer.commit(small_batch("over"))
    assert committer.stats.queued_events == 0
    # Requests are bounded by themselves, too.
    first = await held(writer, committer)
    fits = await queued(committer, *(small_batch("empty", rows=0) for _ in range(3)))
    with pytest.raises(OverloadedError):
        await committer.commit(small_batch("empty", rows=0))
    writer.may_commit.set()
    await asyncio.gather(first, *fits)
    await committer.drain()


async def test_texts_in_the_queue_are_bounded(writer: MemoryWriter) -> None:
    committer = GroupCommitter(writer, queue_text_max=1000)
    committer.start()
    first = await held(writer, committer)
    heavy = EventBatch(EventTable.API_REQUESTS, "t", 0, {}, [bytes(16)], text_size=600)
    fits = await queued(committer, heavy)
    with pytest.raises(OverloadedError):
        await committer.commit(heavy)
    writer.may_commit.set()
    await asyncio.gather(first, *fits)
    # Alone, even a batch over the bound is taken: it would never be otherwise.
    giant = EventBatch(EventTable.API_REQUESTS, "t", 0, {}, [bytes(16)], text_size=5000)
    await committer.commit(giant)
    await committer.drain()


async def test_a_poisoned_batch_fails_alone(
    writer: MemoryWriter, committer: GroupCommitter
) -> None:
    def fail(batches: Sequence[EventBatch]) -> None:
        for batch in batches:
            for url in batch.columns["url"]:
                if url.startswith("poison"):
                    raise ZeroDivisionError("secret of the driver")
                if url.startswith("invalid"):
                    raise InvalidInputError("does not fit")

    writer.fail = fail
    first = await held(writer, committer)
    names = ["a", "poison", "b", "invalid", "c"]
    tasks = await queued(committer, *(small_batch(name) for name in names))
    writer.may_commit.set()
    results = dict(zip(names, await asyncio.gather(*tasks, return_exceptions=True), strict=True))
    await first
    assert all(isinstance(results[name], CommitOutcome) for name in "abc")
    assert isinstance(results["invalid"], InvalidInputError)
    assert type(results["poison"]) is FootfallError
    assert "secret" not in str(results["poison"])
    stored = [url for batch in writer.stored for url in batch.columns["url"]]
    assert stored == ["held-0", "a-0", "b-0", "c-0"]
    assert committer.stats.failed_requests == 2
    assert committer.stats.queued_events == 0


async def test_a_store_that_is_down_fails_all_and_recovers(
    writer: MemoryWriter, committer: GroupCommitter
) -> None:
    calls = 0

    def fail(batches: Sequence[EventBatch]) -> None:
        nonlocal calls
        calls += 1
        raise UnavailableError("down")

    first = await held(writer, committer)
    tasks = await queued(committer, *(small_batch(f"b{n}") for n in range(10)))
    writer.fail = fail
    writer.may_commit.set()
    results = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert all(isinstance(result, UnavailableError) for result in results)
    assert calls == 2, "nobody asks a store that is down for each batch"
    writer.fail = lambda batches: None
    await committer.commit(small_batch("again"))
    assert [batch.columns["url"] for batch in writer.stored] == [["again-0"]]


async def test_a_cancelled_caller_leaves_its_batch_whole(
    writer: MemoryWriter, committer: GroupCommitter
) -> None:
    first = await held(writer, committer)
    gone, stays = await queued(committer, small_batch("gone", rows=3), small_batch("stays"))
    gone.cancel()
    writer.may_commit.set()
    await stays
    await first
    assert gone.cancelled()
    assert [url for batch in writer.stored for url in batch.columns["url"]] == [
        "held-0",
        "gone-0",
        "gone-1",
        "gone-2",
        "stays-0",
    ]
    assert committer.stats.events == 5


async def test_drain_commits_what_waits_and_refuses_what_comes(writer: MemoryWriter) -> None:
    committer = GroupCommitter(writer, commit_rows_max=1)
    committer.start()
    first = await held(writer, committer)
    tasks = await queued(committer, *(small_batch(f"b{n}") for n in range(5)))
    draining = asyncio.create_task(committer.drain())
    await asyncio.sleep(0)
    with pytest.raises(UnavailableError):
        await committer.commit(small_batch("late"))
    writer.may_commit.set()
    await draining
    assert all(task.done() for task in (first, *tasks)), "answered before drain returns"
    assert len(writer.stored) == 6
    await committer.drain()


async def test_batches_of_a_request_are_stored_together_or_not_at_all(
    writer: MemoryWriter, committer: GroupCommitter
) -> None:
    def fail(batches: Sequence[EventBatch]) -> None:
        if any("poison-0" in batch.columns["url"] for batch in batches):
            raise ZeroDivisionError

    writer.fail = fail
    first = await held(writer, committer)
    names = [("a", "b"), ("c", "poison", "d"), ("e",), ()]
    tasks = [
        asyncio.create_task(committer.commit_together([small_batch(name) for name in request]))
        for request in names
    ]
    await asyncio.sleep(0)
    writer.may_commit.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    await first
    assert isinstance(results[1], FootfallError)
    assert [[outcome.last_seq for outcome in results[n]] for n in (0, 2, 3)] == [[2, 3], [4], []]  # type: ignore[union-attr]
    stored = [url for batch in writer.stored for url in batch.columns["url"]]
    assert stored == ["held-0", "a-0", "b-0", "e-0"]
    assert (committer.stats.events, committer.stats.failed_requests) == (4, 1)
    assert committer.stats.queued_events == committer.stats.queued_requests == 0


async def test_rest_comes_once_when_nothing_waits(writer: MemoryWriter) -> None:
    committer = GroupCommitter(writer)
    committer.start()
    await until(lambda: writer.rests == [0])
    await committer.commit(small_batch("a"))
    await until(lambda: writer.rests == [0, 1])
    await asyncio.sleep(0.3)
    assert writer.rests == [0, 1], "nothing has come since"
    await committer.commit(small_batch("b"))
    await committer.drain()
    assert len(writer.threads) == 1, "commits and rests are the writer thread's"


async def test_rest_comes_again_when_it_asks_for_it(writer: MemoryWriter) -> None:
    writer.rest_again_s = [0.01, 0.01]
    committer = GroupCommitter(writer)
    committer.start()
    await until(lambda: writer.rests == [0, 0, 0])
    await asyncio.sleep(0.3)
    assert writer.rests == [0, 0, 0]
    await committer.drain()


async def test_a_removal_has_its_place_among_the_commits(writer: MemoryWriter) -> None:
    committer = GroupCommitter(writer)
    committer.start()
    writer.may_commit.clear()
    held = asyncio.create_task(committer.commit(small_batch("held")))
    await asyncio.to_thread(writer.entered.wait, 30)
    before = asyncio.create_task(committer.commit(small_batch("before", 2)))
    await asyncio.sleep(0)
    removing = asyncio.create_task(committer.remove(Removal("tenant")))
    await asyncio.sleep(0)
    after = asyncio.create_task(committer.commit(small_batch("after", 4)))
    await asyncio.sleep(0)
    writer.may_commit.set()
    assert await removing == 3
    await asyncio.gather(held, before, after)
    assert [url for batch in writer.stored for url in batch.columns["url"]] == [
        f"after-{row}" for row in range(4)
    ]
    assert await committer.remove(Removal("tenant")) == 4
    with pytest.raises(UnavailableError):
        await committer.remove(Removal("tenant", visitor_id="fail"))
    assert len(writer.threads) == 1
    assert committer.stats.queued_events == committer.stats.queued_requests == 0
    await committer.drain()
    with pytest.raises(UnavailableError):
        await committer.remove(Removal("tenant"))


async def test_rest_that_fails_does_no_harm(writer: MemoryWriter) -> None:
    tried = threading.Event()

    def rest() -> None:
        tried.set()
        raise RuntimeError

    writer.rest = rest  # type: ignore[method-assign]
    committer = GroupCommitter(writer)
    committer.start()
    assert await asyncio.to_thread(tried.wait, 30)
    assert (await committer.commit(small_batch("a"))).last_seq == 1
    await committer.drain()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that comes from another thread."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - no event: it comes from another thread
            await asyncio.sleep(0.005)


async def test_drain_without_start() -> None:
    await GroupCommitter(MemoryWriter()).drain()


class Sink:
    """Notes what is published; fails on demand."""

    def __init__(self) -> None:
        self.published: list[tuple[str, int]] = []

    def publish(self, batch: EventBatch, outcome: CommitOutcome) -> None:
        name = batch.columns["url"][0]
        if name.startswith("bad"):
            raise RuntimeError(name)
        self.published.append((name, outcome.last_seq))


async def test_committed_web_events_are_published_in_order(writer: MemoryWriter) -> None:
    def fail(batches: Sequence[EventBatch]) -> None:
        if any(batch.columns["url"] == ["lost-0"] for batch in batches):
            raise ValueError

    sink = Sink()
    committer = GroupCommitter(writer, sink)
    committer.start()
    writer.fail = fail
    web = EventTable.WEB_EVENTS
    await committer.commit(small_batch("one", table=web))
    first = await held(writer, committer)
    names = ["two", "lost", "bad", "three"]
    tasks = await queued(committer, *(small_batch(name, table=web) for name in names))
    writer.may_commit.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    await first
    await committer.drain()
    assert [isinstance(answer, CommitOutcome) for answer in answers] == [True, False, True, True]
    assert [name for name, _ in sink.published] == ["one-0", "two-0", "three-0"]
    assert [seq for _, seq in sink.published] == sorted(seq for _, seq in sink.published)


async def test_many_callers_each_get_their_own(writer: MemoryWriter) -> None:
    committer = GroupCommitter(writer, commit_rows_max=50)
    committer.start()
    dice = random.Random(3)
    wanted = [(f"c{n}", dice.randrange(1, 20)) for n in range(500)]

    async def one(name: str, rows: int) -> tuple[str, int]:
        for _ in range(dice.randrange(5)):
            await asyncio.sleep(0)
        return name, (await committer.commit(small_batch(name, rows))).last_seq

    answers = await asyncio.gather(*(one(name, rows) for name, rows in wanted))
    await committer.drain()
    place = {batch.columns["url"][0]: seq for seq, batch in enumerate(writer.stored, 1)}
    assert all(place[f"{name}-0"] == seq for name, seq in answers)
    assert committer.stats.events == sum(rows for _, rows in wanted)
    assert committer.stats.commits == len(writer.commits)
    assert committer.stats.queued_events == committer.stats.queued_requests == 0
