"""Entity tags, and the headers that name them."""

from __future__ import annotations

import pytest

from footfall.rpc.conditional import entity_tag, names
from footfall.v1 import charts_pb2 as pb

TAG = '"0123456789abcdef"'


@pytest.mark.parametrize(
    "header",
    [
        TAG,
        f"W/{TAG}",
        "*",
        " * ",
        f'"other", {TAG}',
        f'W/"other",W/{TAG},"third"',
        f'"with, a comma",{TAG}',
        f'"",{TAG}',
        f"{TAG},",
    ],
)
def test_headers_that_name_a_tag(header: str) -> None:
    assert names(header, TAG)


@pytest.mark.parametrize(
    "header",
    [
        "",
        '"other"',
        TAG.strip('"'),
        TAG[:-2] + '"',
        f'"{TAG[1:-1]}0"',
        f'"a{TAG}',
        TAG.upper(),
        '"*"',
        "**",
        "W/",
        '"' * 1001,
    ],
)
def test_headers_that_do_not(header: str) -> None:
    assert not names(header, TAG)


def test_a_tag_is_the_contents() -> None:
    message = pb.GetChartsResponse(site="a", daily=[pb.DayCounts(date="2026-01-01", pageviews=1)])
    tag = entity_tag(message)
    assert names(tag, tag)
    assert tag == entity_tag(pb.GetChartsResponse.FromString(message.SerializeToString()))
    others = [
        pb.GetChartsResponse(site="b", daily=message.daily),
        pb.GetChartsResponse(site="a"),
        pb.GetChartsResponse(site="a", daily=[pb.DayCounts(date="2026-01-01", visits=1)]),
        # As bytes this one is the same.
        pb.GetOverviewResponse(site="a"),
    ]
    assert len({tag, *map(entity_tag, others)}) == 5
