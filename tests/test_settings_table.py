"""The settings of a store: one table, and what the environment and a file make of it."""

from __future__ import annotations

import inspect
import re
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from onrecord import Misconfigured, SettingWithoutEffect, Store
from onrecord.settings import SETTINGS, duration, from_environment
from scripts.settings import PAGE, page


def signature() -> dict[str, Any]:
    parameters = list(inspect.signature(Store.__init__).parameters.values())[1:]
    return {one.name: one.default for one in parameters}


def test_every_argument_of_a_store_has_its_row() -> None:
    assert signature() == {setting.name: setting.default for setting in SETTINGS.values()}


def test_the_docstring_says_what_the_table_says() -> None:
    said: dict[str, str] = {}
    for line in inspect.cleandoc(Store.__init__.__doc__ or "").splitlines():
        name = re.match(r"(\w+) {2,}", line)
        if name is not None:
            said[name[1]] = line[name.end() :]
        else:
            said[list(said)[-1]] += " " + line.strip()
    assert said == {setting.name: setting.does for setting in SETTINGS.values()}


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run python -m scripts.settings"


def test_defaults_are_what_a_setting_can_be() -> None:
    for setting in SETTINGS.values():
        setting.check(setting.default)


@pytest.mark.parametrize("name", [n for n, s in SETTINGS.items() if s.least is not None])
def test_ranges_are_refused_by_the_name_of_who_said_it(name: str) -> None:
    setting = SETTINGS[name]
    assert setting.most is not None
    for beyond in (setting.least - 1 if setting.least is not None else 0, setting.most + 1):
        given: dict[str, Any] = {name: beyond}
        with pytest.raises(Misconfigured, match=f"^{name} has to be"):
            Store("sqlite://", **given)
        with pytest.raises(Misconfigured, match=f"^ONRECORD_{name.upper()} has to be"):
            Store.from_env({"ONRECORD_URL": "sqlite://", f"ONRECORD_{name.upper()}": str(beyond)})


def test_all_that_can_be_said_as_text_is_taken(tmp_path: Path) -> None:
    said = {
        "url": ("sqlite:///x.db", "sqlite:///x.db"),
        "replica": ("postgresql://h/d", "postgresql://h/d"),
        "cache": ("redis://h/0", "redis://h/0"),
        "ttl": ("30m", 1800),
        "tail": ("20", 20),
        "consistency": ("strict", "strict"),
        "revalidate": ("500ms", 0.5),
        "compare": ("0.01", 0.01),
        "durability": ("normal", "normal"),
        "compression": ("none", "none"),
        "expires_in": ("90d", timedelta(days=90)),
        "schema": ("memory", "memory"),
        "migrate": ("no", False),
        "timeout": ("2.5", 2.5),
        "pool_size": ("3", 3),
        "slow": ("PT1M", 60),
        "telemetry": ("nameless", "nameless"),
        "embedder": ("minilm", "minilm"),
    }
    assert set(said) == {name for name, one in SETTINGS.items() if one.variable is not None}
    environ = {f"ONRECORD_{name.upper()}": text for name, (text, _) in said.items()}
    assert from_environment(environ) == {name: value for name, (_, value) in said.items()}
    assert from_environment(environ, ["url"]).keys() == said.keys() - {"url"}
    file = tmp_path / "x.toml"
    file.write_text("\n".join(f'{name} = "{text}"' for name, (text, _) in said.items()))
    wanted = {name: value for name, (_, value) in said.items()}
    assert from_environment({"ONRECORD_CONFIG": str(file)}) == wanted


def test_a_store_is_opened_with_them(tmp_path: Path) -> None:
    environ = {
        "ONRECORD_URL": f"sqlite:///{tmp_path}/x.db",
        "ONRECORD_EXPIRES_IN": "P90D",
        "ONRECORD_MIGRATE": "off",
        "ONRECORD_TAIL": "7",
        "ONRECORD_SLOW": "",
    }
    with Store.from_env(environ, tail=9) as store:
        assert store._desk.expires_in == 90 * 86_400 * 1_000_000
        assert store._desk.cached_messages == 9
        with pytest.raises(Misconfigured, match=r"store\.migrate\(\)"):
            store.session("k").append(("user", "x"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90d", 90 * 86_400),
        ("1h30m", 5_400),
        ("1h 30m", 5_400),
        ("250ms", 0.25),
        ("1.5H", 5_400),
        ("2w", 14 * 86_400),
        ("P1DT12H", 129_600),
        ("pt0.5s", 0.5),
        ("P2W", 14 * 86_400),
        *[(text, None) for text in ("", "d", "90", "1y", "P", "PT", "P1Y", "P1M", "-1d", "1d!")],
    ],
)
def test_times_as_text(text: str, seconds: float | None) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    ("name", "text", "advice"),
    [
        ("timeout", "soon", "a number of seconds, or a time as '1h30m'"),
        ("timeout", "nan", "0.01 to 86,400"),
        ("timeout", "2d", "0.01 to 86,400"),
        ("pool_size", "3.5", "a whole number"),
        ("compare", "1m", "a number"),
        ("expires_in", "90", "with its unit, as '90d'"),
        ("expires_in", "99999999999999999d", "with its unit"),
        ("expires_in", "0s", "above zero"),
        ("migrate", "perhaps", "true or false"),
        ("durability", "maximum", "'full' or 'normal'"),
        ("schema", "s" * 64, "63 bytes"),
    ],
)
def test_texts_that_cannot_be(name: str, text: str, advice: str) -> None:
    with pytest.raises(Misconfigured, match=re.escape(advice)) as caught:
        Store.from_env({f"ONRECORD_{name.upper()}": text})
    assert str(caught.value).startswith(f"ONRECORD_{name.upper()} ")


# -- a file ----------------------------------------------------------------------------------------


def config(tmp_path: Path, text: str) -> dict[str, str]:
    file = tmp_path / "onrecord.toml"
    file.write_text(text)
    return {"ONRECORD_CONFIG": str(file)}


def test_a_file_is_below_the_environment_and_both_below_arguments(tmp_path: Path) -> None:
    environ = config(
        tmp_path,
        """
        [onrecord]
        url = "sqlite:///file.db"
        tail = 11
        timeout = 2
        migrate = true
        [tool.another]
        url = 5
        """,
    )
    assert from_environment(environ) == {
        "url": "sqlite:///file.db",
        "tail": 11,
        "timeout": 2,
        "migrate": True,
    }
    environ["ONRECORD_TAIL"] = "12"
    assert from_environment(environ)["tail"] == 12
    with Store.from_env(environ, url="sqlite://", timeout=3.0) as store:
        assert store.address == "sqlite://"
        assert store._desk.cached_messages == 12
        assert store._ledger.options.timeout == 3.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tial = 5", ["'tial'", "Did you mean 'tail'?"]),
        ("whatever = 5", ["'whatever'", "docs/reference/settings.md"]),
        ("engine = 'x'", ["'engine'", "pass it to Store"]),
        ("onrecord = 5", ["no table"]),
        ("tail = 0", ["tail in ", "1 to 10,000"]),
        ("tail = true", ["tail in ", "whole number"]),
        ("tail = 1.5", ["tail in ", "whole number"]),
        ("expires_in = 90", ["expires_in in ", "with its unit"]),
        ("migrate = 1", ["migrate in ", "true or false"]),
        ("schema = 5", ["schema in ", "text"]),
    ],
)
def test_files_that_cannot_be(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(Misconfigured) as caught:
        Store.from_env(config(tmp_path, text))
    for word in [*words, "onrecord.toml"]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        'url = "postgresql://u:secret@h/d',
        'url = "postgresql://u:secret@h/d" secret',
        "url = postgresql://u:secret@h/d",
        'url = ["postgresql://u:secret@h/d"]',
        'cache = {password = "secret"}',
        'url = "postgresql://u:secret@h/d"\nurl = "secret"',
        '"url" = "postgresql+madeup://u:secret@h/d"',
        'url = "\\secret"',
    ],
)
def test_no_error_shows_a_password_of_the_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        Store.from_env(config(tmp_path, text))
    fault = caught.value
    assert "secret" not in f"{fault!r} {fault.__cause__!r}"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be read: No such file"):
        Store.from_env({"ONRECORD_CONFIG": str(tmp_path / "none.toml")})
    (tmp_path / "latin.toml").write_bytes(b'url = "\xff"')
    with pytest.raises(Misconfigured, match="is no TOML"):
        Store.from_env({"ONRECORD_CONFIG": str(tmp_path / "latin.toml")})


def test_a_variable_that_is_nearly_one_of_ours_is_warned_of() -> None:
    with pytest.warns(
        SettingWithoutEffect, match=r"ONRECORD_TIMEOT .* ONRECORD_TIMEOUT\?"
    ) as caught:
        Store.from_env({"ONRECORD_TIMEOT": "5", "ONRECORD_URL": "sqlite://"}).close()
    assert caught[0].filename == __file__
    with pytest.warns(SettingWithoutEffect, match="ttl= has no effect") as caught:
        Store.from_env({"ONRECORD_TTL": "5", "ONRECORD_URL": "sqlite://"}).close()
    assert caught[0].filename == __file__
    Store.from_env(
        {
            "ONRECORD_URL": "sqlite://",
            "ONRECORD_PORT": "tcp://10.0.0.1:80",
            "ONRECORD_SERVICE_HOST": "10.0.0.1",
            "ONRECORD_TEST_POSTGRES_URL": "postgresql://h/d",
        }
    ).close()


# -- without effect --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", [{"ttl": 60}, {"revalidate": 1.0}, {"consistency": "strict"}, {"compare": 0.5}]
)
def test_what_changes_nothing_is_warned_of(given: dict[str, Any], tmp_path: Path) -> None:
    (name,) = given
    with pytest.warns(SettingWithoutEffect, match=f"^{name}= has no effect on Store") as caught:
        Store("sqlite://", **given).close()
    assert caught[0].filename == __file__
    default = {name: SETTINGS[name].default}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Store("sqlite://", **default).close()
        Store("sqlite://", cache="redis://127.0.0.1:1/0", **given).close()
        if name == "compare":  # what is kept in this process is compared as well
            Store(f"sqlite:///{tmp_path / 'x.db'}", **given).close()
