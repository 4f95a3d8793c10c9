"""A tenant who asks for ten times what is allowed, and another one beside."""

from __future__ import annotations

import json
import time
from pathlib import Path
from statistics import median

from tests.e2e.service import running
from tests.faults.http_load import NUMBER, Kind, Load, Tally, quantile, request
from tests.faults.tenants import Tenant, api_requests, create_tenant, encoded, page_view
from tests.faults.verdicts import Case

#: What a plan allows, and how many times as much one tenant asks for.
LIMITS = {
    "site_requests_per_minute": 600,
    "application_reads_per_10s": 100,
    "account_requests_per_10s": 50,
    "account_requests_per_minute": 300,
    "workspace_requests_per_second": 5,
}
FACTOR = 10
#: The other one's calls a second, which take a fraction of the machine.
QUIET_RATE = 25
#: By how much the other one's p99 may grow.
GROWTH = 2.0
#: It is alone and beside the noise in turn, and the median of each counts: a disk that does not
#: answer for a tenth of a second, as disks of virtual machines do, makes a p99 of its own. A round
#: has the noise's every window of ten seconds from its beginning.
ROUNDS = 3
ROUND_S = 10


def quiet_kinds(tenant: Tenant) -> dict[str, Kind]:
    """What somebody within the limits does: writes a little, reads a little."""
    number = NUMBER.decode()
    view = encoded(page_view(tenant, number, f"v-{number}"))
    now = int(time.time())
    return {
        "page view": Kind(
            request("POST", f"/v1/collect?site={tenant.site}", tenant.bearer, view), 2
        ),
        "events": Kind(
            request("POST", "/1/event/", tenant.writes, encoded(api_requests(10, number))), 1
        ),
        "time series": Kind(
            request("GET", f"/1/timeseries/{now - 86_400}/{now + 600}/", tenant.reads), 1
        ),
    }


def noisy_kinds(tenant: Tenant) -> dict[str, Kind]:
    """What each limit is about, as often as its share of all that is allowed."""
    site, queries = f"site={tenant.site}", f"website_id={tenant.site}"
    asked = encoded({"parameters": ["summary", "pages"], "preset": "last_7d"})
    times = "time_start=2026-01-01T00:00:00Z&time_end=2027-01-01T00:00:00Z"
    now = int(time.time())
    return {
        "site": Kind(request("GET", f"/v1/realtime?{site}", tenant.bearer), 10),
        "application": Kind(
            request("GET", f"/1/timeseries/{now - 86_400}/{now + 600}/", tenant.reads), 10
        ),
        "account": Kind(request("POST", f"/v1/query?{queries}", tenant.queries, asked), 5),
        "workspace": Kind(request("GET", f"/v1/analytics/flow_runs?{times}", tenant.workspace), 5),
    }


#: The calls a second that the plan allows in all.
ALLOWED = 10 + 10 + 5 + 5


def test_a_noisy_tenant_slows_nobody_else(tmp_path: Path, case: Case) -> None:
    case.only_in_full("what it says of a few seconds depends on what else the machine does")
    with running(tmp_path / "data") as service:
        quiet, noisy = (
            create_tenant(service.accounts_url),
            create_tenant(service.accounts_url, **LIMITS),
        )

        def load(kinds: dict[str, Kind], seconds: float, rate: float) -> Load:
            seed = case.chance.randrange(2**16)
            return Load(service.rest, kinds, seconds=seconds, seed=seed, rate=rate, callers=256)

        calm, loud = quiet_kinds(quiet), noisy_kinds(noisy)
        # What a server does only once is nobody's noise.
        load(loud, 3, ALLOWED / 3).tally()
        load(calm, 1, QUIET_RATE).tally()
        alone, beside, noise = [], [], []
        for _ in range(ROUNDS):
            alone.append(load(calm, ROUND_S, QUIET_RATE).tally())
            made = load(loud, ROUND_S + 1, FACTOR * ALLOWED)
            beside.append(load(calm, ROUND_S, QUIET_RATE).tally())
            noise.append(made.tally())
    before, meanwhile = (p99s(alone), p99s(beside))
    slower = median(meanwhile) / median(before)
    case.tell(
        f"alone p99 {told(before)} ms, beside {FACTOR * ALLOWED} calls/s of which "
        f"{sum(tally.refused for tally in noise)} of {sum(tally.sent for tally in noise)} were "
        f"refused {told(meanwhile)} ms ({slower:.1f} times)"
    )
    for tally in (*alone, *beside):
        assert tally.statuses.keys() == {200}, json.dumps(tally.odd)
    for tally in noise:
        assert tally.statuses.keys() == {200, 429}, (tally.statuses, tally.odd)
        assert tally.hintless == 0
    assert sum(sum(tally.good.values()) for tally in noise) <= most_allowed(
        ROUNDS * (2 * ROUND_S + 1)
    )
    assert slower < GROWTH


def p99s(tallies: list[Tally]) -> list[float]:
    return [quantile(tally.good_s, 0.99) for tally in tallies]


def told(times_s: list[float]) -> str:
    return ", ".join(f"{1000 * seconds:.0f}" for seconds in sorted(times_s))


def most_allowed(seconds: float) -> float:
    """Return what all limits together let through: one window more than there is time for."""
    return (
        LIMITS["site_requests_per_minute"] * (seconds // 60 + 2)
        + LIMITS["application_reads_per_10s"] * (seconds // 10 + 2)
        + LIMITS["account_requests_per_10s"] * (seconds // 10 + 2)
        + LIMITS["workspace_requests_per_second"] * (seconds + 3)
    )
