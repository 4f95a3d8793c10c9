"""Settings come from the environment, and all of them are documented."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from footfall.errors import InvalidInputError
from footfall.settings import Settings, reference

DOCS = Path(__file__).parent.parent / "docs" / "settings.md"


def test_the_documentation_is_current() -> None:
    assert DOCS.read_text(encoding="utf-8") == reference()


def test_every_setting_has_a_variable_and_a_meaning() -> None:
    names = [item.metadata["env"] for item in fields(Settings)]
    assert len(set(names)) == len(names)
    for item in fields(Settings):
        assert item.metadata["env"].startswith("FOOTFALL_")
        assert item.metadata["doc"].endswith(".")
        assert f"| `{item.metadata['env']}` |" in reference()


def test_values_have_the_types_of_their_defaults() -> None:
    settings = Settings.from_env(
        {
            "FOOTFALL_DATA": "/somewhere/else",
            "FOOTFALL_LIVE_WINDOW_SECONDS": "60",
            "FOOTFALL_DRAIN_SECONDS": "0.5",
            "FOOTFALL_REDIS_URL": "unix:///tmp/v.sock",
            "UNRELATED": "1",
        }
    )
    assert settings.data_dir == Path("/somewhere/else")
    assert (settings.live_window_s, settings.drain_s) == (60, 0.5)
    assert settings.redis_url == "unix:///tmp/v.sock"
    assert settings.effective_events_url == "duckdb:////somewhere/else/events.duckdb"
    assert settings.effective_accounts_url == "sqlite:////somewhere/else/accounts.sqlite"


def test_an_empty_variable_is_the_default() -> None:
    assert Settings.from_env({"FOOTFALL_DATA": "", "FOOTFALL_REDIS_URL": ""}) == Settings()


def test_an_empty_variable_turns_metrics_off() -> None:
    assert Settings.from_env({"FOOTFALL_METRICS_LISTEN": ""}).metrics_listen == ""
    assert Settings.from_env({}).metrics_listen == Settings().metrics_listen != ""


def test_overrides_win() -> None:
    settings = Settings.from_env({"FOOTFALL_LOG_LEVEL": "debug"}, log_level="error")
    assert settings.log_level == "error"


def test_a_value_that_cannot_be_read_names_its_variable() -> None:
    with pytest.raises(InvalidInputError, match=r"FOOTFALL_LIVE_WINDOW_SECONDS.*'soon'"):
        Settings.from_env({"FOOTFALL_LIVE_WINDOW_SECONDS": "soon"})
