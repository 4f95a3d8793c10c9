"""Answers that are lost between the commit and the caller, who sends again: each event once."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.e2e.service import Service
from tests.faults.callers import (
    FAMILIES,
    Caller,
    Family,
    Grpc,
    Outcome,
    Rest,
    UnclearError,
    callers,
    until_clear,
)
from tests.faults.proxy import Proxy, proxy_to
from tests.faults.tenants import create_tenant
from tests.faults.verdicts import Case

#: How many answers are lost, in the full form as the promise says.
ANSWERS = 1_000
ANSWERS_QUICK = 48


def lose_answers(
    proxy: Proxy, caller: Caller, chance: random.Random, answers: int
) -> Counter[Family]:
    """Send batches whose first answers are lost, each until it is acknowledged.

    Returns how many events were sent of each family.
    """
    sent: Counter[Family] = Counter()
    lost = 0
    while lost < answers:
        family = FAMILIES[lost % len(FAMILIES)]
        ids = [f"{caller.name}-{lost}-{index}" for index in range(chance.randrange(1, 5))]
        key = f"batch-{caller.name}-{lost}" if chance.random() < 0.5 else None
        proxy.cut_answers()
        # Now and then the second answer is lost, too.
        lost += 1 if chance.random() < 0.8 else 2
        while proxy.answers_cut < lost:
            # A call that finds the connection gone that was reset before has no answer to lose.
            with pytest.raises(UnclearError):
                caller.send(family, ids, key=key)
        proxy.cut_answers(False)
        # All of it was stored before the answer was lost, and nothing is stored now.
        outcome = until_clear(
            lambda family=family, ids=ids, key=key: caller.send(family, ids, key=key)
        )
        assert outcome == Outcome(accepted=0, duplicates=len(ids))
        sent[family] += len(ids)
    return sent


def test_an_answer_that_is_lost(service: Service, case: Case) -> None:
    tenant = create_tenant(service.accounts_url)
    answers = ANSWERS if case.full else ANSWERS_QUICK

    def work(make: type[Caller], seed: int) -> Counter[Family]:
        # Each has a proxy of its own, since it says which answers are lost.
        with proxy_to(service.grpc_target) as proxy:
            caller = make(proxy.address, tenant)
            try:
                return lose_answers(proxy, caller, random.Random(seed), answers // 2)
            finally:
                caller.close()

    with ThreadPoolExecutor(2) as threads:
        works = [threads.submit(work, make, case.chance.random()) for make in (Rest, Grpc)]
        sent: Counter[Family] = sum((work.result() for work in works), Counter())
    assert sent.keys() == set(FAMILIES)
    with callers(service.grpc_target, tenant) as made:
        for caller in made:
            counts = {family: until_clear(partial(caller.count, family)) for family in FAMILIES}
            assert counts == sent, caller.name
    case.tell(f"{answers} answers lost, {sent.total()} events, each stored once")
