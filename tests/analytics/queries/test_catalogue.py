"""The catalogue of query types, and what is published of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from footfall.analytics.queries.catalogue import BY_NAME, FILTERS, TYPES, Shape
from footfall.analytics.queries.documents import types_document
from footfall.analytics.queries.reference import reference

#: What the contract names.
NAMES = {
    "summary",
    "summary_metrics",
    "today_metrics",
    "events_by_date",
    "active_stats",
    "pages",
    "top_pages",
    "entry_pages",
    "exit_pages",
    "traffic",
    "traffic_sources",
    "top_referrers",
    "utm_sources",
    "utm_mediums",
    "utm_campaigns",
    "utm_terms",
    "utm_content",
    "browser_name",
    "browsers",
    "os_name",
    "device_types",
    "screen_resolutions",
    "country",
    "city",
    "language",
    "timezone",
    "custom_events",
    "custom_event_properties",
    "session_metrics",
    "outbound_links",
}


def test_everything_in_the_contract_is_there_and_nothing_else() -> None:
    assert set(BY_NAME) == NAMES


def test_the_page_is_made_of_the_catalogue() -> None:
    page = Path(__file__).parents[3] / "docs" / "queries.md"
    assert page.read_text("utf-8") == reference(), "python -m footfall.analytics.queries > docs/…"


@pytest.mark.parametrize("kind", TYPES.values(), ids=lambda kind: kind.name)
def test_an_entry_is_whole(kind: object) -> None:
    entry = TYPES[kind.name]  # type: ignore[attr-defined]  # an entry of the catalogue
    assert entry.description.endswith(".")
    assert set(entry.filters) <= set(FILTERS)
    names = [column.name for column in entry.columns]
    assert len(set(names)) == len(names)
    breakdowns = {Shape.PAGEVIEWS, Shape.ENTRIES, Shape.EXITS, Shape.EVENTS}
    assert (entry.field is not None) == (entry.shape in breakdowns)
    if entry.shape in breakdowns:
        assert names[0] == "name"
        assert names[2:] == ["visitors", "percentage"]


def test_the_published_catalogue() -> None:
    document = types_document(include_meta=True)
    assert document["types"] == list(document["configs"])
    series = document["configs"]["events_by_date"]
    assert series["defaultLimit"] == 0
    assert series["meta"]["supports_granularity"] == ["hourly", "daily"]
    rate = next(f for f in series["meta"]["output_fields"] if f["name"] == "bounce_rate")
    assert rate["unit"] == "percent"
    assert document["configs"]["active_stats"]["allowedFilters"] == []
    assert document["configs"]["summary"] == document["configs"]["summary_metrics"]
