"""The command line: for a person at a terminal of any width, and for a script in a pipe."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
import redis
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.sqlite import SqliteSaver

from onrecord import (
    ANY,
    Image,
    Message,
    Reasoning,
    Store,
    Text,
    ToolCall,
)
from onrecord.cli import elsewhere, histories
from onrecord.cli.lines import LINES
from onrecord.files import Target
from scripts.command_line import PAGE, page
from tests.command_line import Done, Running, Terminal, on_terminal, run
from tests.servers.redis import RedisServer

ROOT = Path(__file__).parents[1]
EVIL = "evil\x1b[31m\x1b]0;title\x07 \u202egnp.\u202c \x9b2J \U000e0041"
DRIVES = re.compile("[\x1b\x07\x9b\u202e\U000e0041]")
ASKED = "Where is my order A-1017? It has not arrived, and I have waited for two weeks."


class Place(NamedTuple):
    """A store by its addresses."""

    url: str
    cache: str | None

    def __call__(self, *arguments: str | Path, how: Callable[..., Any] = run, **more: Any) -> Done:
        """Run a command over it."""
        env = {"ONRECORD_URL": self.url, **more.pop("env", {})}
        if self.cache is not None:
            env["ONRECORD_CACHE"] = self.cache
        return how(*arguments, env=env, **more)  # type: ignore[no-any-return]

    def lines(self, *arguments: str | Path, code: int = 0) -> list[dict[str, Any]]:
        """Run a command as a script does, and read its lines; each has the names that are told."""
        done = self(*arguments, "--json")
        assert (done.code, done.err) == (code, ""), (arguments, done)
        assert not DRIVES.search(done.out)
        found = [json.loads(line) for line in done.out.splitlines()]
        for line in found:
            kind = line["type"]
            names = set(line) - {"type"} - ({"type", "opens_turn"} if kind == "message" else set())
            assert names <= set(LINES[kind]), (arguments, names - set(LINES[kind]))
        return found

    def open(self) -> Store:
        return Store(self.url, cache=self.cache)


@pytest.fixture(params=["sqlite", "postgresql with redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A store on each kind of database, with something in it."""
    if request.param == "sqlite":
        found = Place(f"sqlite:///{tmp_path / 'store.db'}", None)
    else:
        cache = request.getfixturevalue("redis_server").url
        found = Place(request.getfixturevalue("kept_postgres_url"), cache)
    with found.open() as store:
        fill(store)
    return found


@pytest.fixture
def small(tmp_path: Path) -> Place:
    """A store on SQLite, with something in it."""
    found = Place(f"sqlite:///{tmp_path / 'store.db'}", None)
    with found.open() as store:
        fill(store)
    return found


def fill(store: Store) -> None:
    chat = store.session("ticket", user="ada", agent="desk")
    chat.append(
        [
            ("user", ASKED),
            Message("assistant", [ToolCall("find_order", {"order": "A-1017"}, "c1")]),
            Message("tool", '{"status": "held at customs"}', tool_call_id="c1"),
            ("assistant", "It is held at customs."),
            Message("user", [Text("Is it this?"), Image(data=b"x" * 2048, name="parcel.png")]),
            Message(
                "assistant",
                [Reasoning("\n".join(f"thought {n}" for n in range(20))), Text("It is.")],
            ),
            ("user", "Then send it again, please."),
        ]
    )
    chat.update(title="An order that has not arrived", metadata={"lang": "en"})
    chat.state.put("plan", {"next": "send"})
    store.session(EVIL, user="bo").append(("user", f"{EVIL}\nand 日本語 too"))
    store.session("plain").append([("user", "Hello"), ("assistant", "Hi.")])
    store.items("facts", "people", user="ada").put("city", {"name": "Lyon", "by": EVIL})


# -- a script --------------------------------------------------------------------------------


def test_a_script_reads_what_there_is(place: Place) -> None:
    [plain] = place.lines("sessions")
    assert (plain["key"], plain["messages"], plain["head"], plain["user"]) == ("plain", 2, 2, "")
    everybody = place.lines("sessions", "--all")
    assert [one["key"] for one in everybody] == ["plain", EVIL, "ticket"]
    [ticket] = place.lines("sessions", "--all", "--metadata", "lang=en", "-n", "1")
    assert ticket["title"] == "An order that has not arrived"
    assert ticket["metadata"] == {"lang": "en"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", ticket["created_at"])

    whose = ("--user", "ada", "--agent", "desk")
    shown = place.lines("show", "ticket", *whose)
    assert [one["seq"] for one in shown] == list(range(1, 8))
    assert shown[0]["content"] == [{"type": "text", "text": ASKED}]
    assert place.lines("show", "ticket", *whose, "--since", "1h") == shown
    assert place.lines("show", "ticket", *whose, "--after", "2", "-n", "2") == shown[2:4]
    assert place.lines("show", "ticket", *whose, "--until", "1h") == []
    assert place.lines("tail", "ticket", *whose, "-n", "2") == shown[-2:]

    hits = place.lines("search", "customs order", "--all", "--around", "1")
    assert hits[0]["key"] == "ticket"
    assert "customs" in json.dumps(hits[0]["message"])
    assert len(hits[0]["around"]) >= 2
    assert place.lines("search", "customs", "--session", "plain") == []

    [waits] = place.lines("unfinished", "--user", "ada", "--agent", "desk")
    assert (waits["key"], waits["said"]) == ("ticket", "Then send it again, please.")


def test_a_script_reads_what_is_known(place: Place) -> None:
    [city] = place.lines("items", "facts", "--user", "ada")
    assert (city["namespace"], city["key"]) == (["facts", "people"], "city")
    assert city["value"] == {"name": "Lyon", "by": EVIL}
    assert place.lines("items", "facts", "people", "--key", "city", "--user", "ada") == [city]
    assert place.lines("items", "--search", "Lyon", "--user", "ada")[0]["key"] == "city"
    assert place.lines("items", "--filter", "name=Nice", "--user", "ada") == []
    namespaces = place.lines("items", "--namespaces", "--all")
    assert [one["namespace"] for one in namespaces] == [["facts", "people"]]
    [plan] = place.lines("items", "--session", "ticket", "--user", "ada", "--agent", "desk")
    assert plan["value"] == {"next": "send"}
    assert place("items", "nothing", "--key", "x").code == 1
    told = place("items", "--session", "ticket", "--user", "ada", "--agent", "desk").out
    assert "  state of ticket  " in told


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        ("--all", 2, "--all goes with --namespaces"),
        ("--session ticket --user ada", 1, "There is no session 'ticket'"),
        ("--session plain --namespaces", 2, "--session is for the state of one session"),
        ("facts --session plain", 2, "--session is for the state of one session"),
        ("--session plain --search Lyon", 2, "--session is for the state of one session"),
    ],
)
def test_items_refuse_what_they_would_not_mind(
    small: Place, asked: str, code: int, said: str
) -> None:
    done = small("items", *asked.split())
    assert (done.code, done.out) == (code, "")
    assert said in done.err


TICKET = "--user ada --agent desk"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("show ticket", f"one of that key with {TICKET}: `onrecord show ticket {TICKET}`."),
        (
            "tail ticket --user ada",
            f"one of that key with {TICKET}: `onrecord tail ticket {TICKET}`.",
        ),
        ("export - --session ticket", f"one of that key with {TICKET}."),
        ("erase --session ticket --yes", f"one of that key with {TICKET}."),
        ("search order --session ticket", f"one of that key with {TICKET}."),
        ("items --session ticket", f"one of that key with {TICKET}."),
        ("show plain --user ada", "one of that key with no names: `onrecord show plain`."),
        ("show many", "key with other names: --user 'u 4'; --user 'u 3'; --user 'u 2', and more."),
        ("show many --tenant t", "other names: --tenant t --user 'u 1'; --tenant t --user 'u 0'."),
        ("show nowhere", "`onrecord sessions --all` lists the sessions of everybody."),
        ("show ticket --stale-ok", f"`onrecord show ticket {TICKET}`."),
    ],
)
def test_a_session_of_others_is_named_and_not_opened(small: Place, typed: str, said: str) -> None:
    with small.open() as store:
        for n in range(5):
            store.session("many", tenant="" if n > 1 else "t", user=f"u {n}").append(("user", "x"))
        before = store.stats()
    done = small(*typed.split())
    assert (done.code, done.out) == (1, "")
    assert f"{said}" in done.err
    assert "There is no session '" in done.err
    with small.open() as store:
        assert store.stats() == before


def test_a_key_is_looked_for_among_sessions_with_the_names_that_were_given(
    small: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many others there are: no index has keys alone, and not all are looked at."""
    monkeypatch.setattr(elsewhere, "LOOKED_AT", 2)
    with small.open() as store:
        for n in range(5):
            store.session(f"later {n}").append(("user", "x"))
    assert f"`onrecord show ticket {TICKET}`" in small("show", "ticket", "--user", "ada").err
    assert f"`onrecord show ticket {TICKET}`" in small("show", "ticket", "--agent", "desk").err
    assert "`onrecord sessions --all` lists" in small("show", "ticket").err


def test_a_script_looks_after_a_store(place: Place, tmp_path: Path) -> None:
    [stats] = place.lines("stats")
    assert (stats["sessions"], stats["messages"], stats["items"]) == (3, 10, 2)
    assert (stats["namespaces"], stats["states"]) == (1, 1)
    assert place.lines("stats", "--user", "bo")[0]["messages"] == 1
    [health] = place.lines("health")
    assert health["ok"] is True
    assert (health["cache"] is None) is (place.cache is None)
    assert place.lines("migrate") == []
    [would] = place.lines("index", "--dry-run")
    assert would["places"] == stats["unindexed"] > 0
    [indexed] = place.lines("index")
    assert indexed["places"] >= would["places"]
    assert place.lines("compact", "--quiet-for", "0s")[0]["sessions"] == 3
    assert place.lines("compact", "--again", "--yes")[0]["disk_bytes"] > 0
    assert place.lines("train")[0]["dictionary"] is None
    assert place.lines("verify") == []
    assert [one["type"] for one in place.lines("invalidate")] == ["invalidated"]
    found = place.lines("doctor", code=1 if any_warning(place) else 0)
    assert {one["severity"] for one in found} <= {"note", "warning", "error"}
    [done] = place.lines("maintain", "--for", "1m")
    assert (done["ok"], done["complete"]) == (True, True)
    assert [step["name"] for step in done["steps"]][:1] == ["prune"]
    if place.cache is None:
        assert place.lines("backup", tmp_path / "copy.db")[0]["file"].endswith("copy.db")
        with Store(f"sqlite:///{tmp_path / 'copy.db'}") as copy:
            assert len(copy.sessions(tenant=ANY, user=ANY, agent=ANY)) == 3
    else:
        refused = place("backup", tmp_path / "copy.db")
        assert refused.code == 2
        assert "pg_dump" in refused.err


def any_warning(place: Place) -> bool:
    """Whether the doctor finds more than notes, as on a server that only tests use."""
    with place.open() as store:
        return not store.doctor().ok


def test_out_and_in_again(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl.zst"
    [out] = place.lines("export", file)
    assert (out["sessions"], out["messages"]) == (3, 10)
    other = Place(f"sqlite:///{tmp_path / 'other.db'}", None)
    [brought] = other.lines("import", file)
    assert (brought["written"], brought["messages"], brought["items"]) == (3, 10, 2)
    assert other.lines("import", file)[0]["written"] == 0
    whole = file.read_bytes()
    refused = place("export", file, "--session", "plain")
    assert (refused.code, refused.out) == (2, "")
    assert "all.jsonl.zst' is there already, and is not written over." in refused.err
    assert "or write over it with `onrecord export --overwrite`." in refused.err
    assert file.read_bytes() == whole
    assert place("export", file, "--session", "plain", "--overwrite").code == 0
    assert file.read_bytes() != whole
    piped = place("export", "-", "--session", "plain")
    assert json.loads(piped.out.splitlines()[0])["format"] == "onrecord"
    assert (piped.code, piped.err) == (0, "")
    third = Place(f"sqlite:///{tmp_path / 'third.db'}", None)
    given = third("import", "-", "--json", given=piped.out.encode())
    assert json.loads(given.out)["messages"] == 2
    with third.open() as store:
        store.session("plain").replace(("user", "Something else"))
    again = third("import", "-", given=piped.out.encode())
    assert again.code == 1
    assert "differs:" in again.out
    assert "'plain'" in again.out


def test_what_destroys_asks_and_can_say_what_it_would_do(place: Place, tmp_path: Path) -> None:
    for command in (
        ("erase", "--user", "ada", "--agent", "desk"),
        ("erase", "--session", "plain"),
        ("prune", "--older-than", "0s"),
        ("compact", "--again"),
        ("index", "--only"),
    ):
        refused = place(*command)
        assert refused.code == 2, command
        assert "--yes" in refused.err
        assert place(*command, "--dry-run").code == 0
    assert place("erase").code == 2
    assert place.lines("stats")[0]["messages"] == 10

    [would] = place.lines("erase", "--session", "plain", "--dry-run")
    assert (would["dry_run"], would["sessions"], would["messages"]) == (True, 1, 2)
    assert would["removed"]["onrecord_sessions"] == 1
    told = place("erase", "--user", "ada", "--dry-run")
    assert "onrecord_items       1\n" in told.out
    listed = "`onrecord sessions --user ada --all`"
    assert f"It leaves 1 session under other names, which {listed} lists." in told.out
    [would] = place.lines("erase", "--user", "ada", "--dry-run", "--quick")
    assert (would["left"], would["sessions"], would["items"]) == (1, 0, 1)
    assert "Free pages" in would["traces"]
    [receipt] = place.lines("erase", "--session", "plain", "--yes")
    assert sum(receipt["removed"].values()) > 0
    assert place("show", "plain").code == 1
    archive = tmp_path / "gone.jsonl"
    *gone, pruned = place.lines("prune", "--older-than", "0s", "--archive-to", archive, "--yes")
    assert [one["key"] for one in gone] == ["ticket", EVIL], (
        "what was quiet for longest comes first"
    )
    assert pruned["archived_to"] == str(archive)
    assert place.lines("import", archive)[0]["messages"] == 8
    everybody = place.lines("erase", "--all", "--dry-run")[0]
    erased = place.lines("erase", "--all", "--yes")[0]
    assert erased["removed"]
    for counted in ("sessions", "messages", "items", "threads"):
        assert erased[counted] == everybody[counted], "as the page lists them"
    assert place.lines("stats")[0]["sessions"] == 0


# -- a person --------------------------------------------------------------------------------

OURS = re.compile(r"\x1b\[(?:[\d;]*m|\?25[lh]|\d*[AK])")
"""Colours; and of what shows that work goes on, the cursor, a line up, a line away."""


def as_read(terminal: Terminal) -> str:
    """What a command wrote to a terminal, which nothing that was stored drives."""
    done = terminal.done()
    assert done.code == 0, done
    text = OURS.sub("", terminal.raw.decode())
    assert not DRIVES.search(text)
    return done.out


@pytest.mark.parametrize(
    ("place", "columns"),
    [("sqlite", 80), ("sqlite", 40), ("postgresql with redis", 40)],
    indirect=["place"],
)
def test_a_person_reads_it_on_a_terminal(place: Place, columns: int) -> None:
    def seen(*arguments: str) -> str:
        def terminal(*asked: str, **how: Any) -> Any:
            return Terminal(*asked, columns=columns, lines=120, **how)

        return as_read(place(*arguments, how=terminal))  # type: ignore[arg-type]

    listed = seen("sessions", "--all")
    assert "ticket" in listed
    assert "evil\\e[31m\\e]0;t" in listed
    if columns == 80:
        assert re.search(r"^KEY +USER +AGENT +LAST ACTIVE +MESSAGES +TITLE$", listed, re.M)
        assert all(len(line) <= 80 for line in listed.splitlines())
        assert len(listed.splitlines()) == 4
    else:
        assert "ticket\n  user ada · agent desk\n" in listed

    shown = seen("show", "ticket", "--user", "ada", "--agent", "desk")
    indent = " " * (4 if columns == 80 else 2)
    assert shown.startswith("ticket · user ada · agent desk\nAn order that has not arrived\n")
    assert f"\n#1 user  {shown.split('#1 user  ')[1][:5]}\n{indent}Where is my order" in shown
    assert f'\n{indent}→ find_order(order="A-1017")' in shown
    assert f'\n{indent}← {{"status"' in shown
    assert f"\n{indent}▪ image · parcel.png · 2.0 KiB" in shown
    assert "thought 7" in shown
    assert "thought 8" not in shown
    assert "… 12 more lines" in shown
    assert "It is." in shown
    assert "thought 19" in seen("tail", "ticket", "--user", "ada", "--agent", "desk", "--full")
    evil = seen("show", EVIL, "--user", "bo")
    assert "\\e]0;title\\x07" in "".join(evil.split())
    assert "日本語" in evil

    assert "It is held at customs." in seen("search", "customs", "--all")
    assert "Lyon" in seen("items", "--user", "ada")
    assert "Then send it" in seen("unfinished", "--all")
    assert re.search(r"^messages +10 in 5 turns$", seen("stats"), re.M)
    assert "items 2 in 1 namespace and 1 state" in " ".join(seen("stats").split())
    assert re.search(r"^database +ok", seen("health"), re.M)
    assert seen("verify") == "All is well."
    assert re.search(r"^prune +nothing", seen("maintain"), re.M)


def test_colours_are_off_when_asked(small: Place) -> None:
    def raw(*arguments: str, **how: Any) -> bytes:
        terminal = Terminal(*arguments, **how)
        assert terminal.done().code == 0
        return bytes(terminal.raw)

    def coloured(*arguments: str, **env: str) -> bool:
        env["ONRECORD_URL"] = small.url
        return b"\x1b[" in raw("sessions", *arguments, env=env)

    assert coloured()
    assert not coloured("--no-color")
    assert not coloured(NO_COLOR="1")
    assert "\x1b" not in small("sessions", "--all").out


def test_somebody_types_the_word(small: Place) -> None:
    def typed(*words: str) -> Done:
        def terminal(*asked: str, **how: Any) -> Done:
            one = Terminal(*asked, **how)
            one.wait_for("Type erase to go on:")
            for word in words:
                one.answer(word)
            return one.done()

        return small("erase", "--session", "plain", how=terminal)

    for wrong in ("y\n", "\n", "\x04"):
        done = typed(wrong)
        assert done.code == 1, done
        assert "Nothing was done." in done.out
    assert typed("\x03").code == 130
    assert small("show", "plain").code == 0
    done = typed("erase\n")
    assert done.code == 0, done
    assert "Session 'plain', 2 messages" in done.out
    assert small("show", "plain").code == 1


def test_long_work_shows_how_far_it_is(small: Place) -> None:
    terminal = Terminal("verify", env={"ONRECORD_URL": small.url})
    assert terminal.done().out == "All is well."
    assert "Verifying" in terminal.raw.decode()
    assert small("verify") == Done(0, "All is well.\n", "")


def test_help_fits_and_names_what_there_is() -> None:
    for columns in (80, 40):
        done = on_terminal("erase", "--help", columns=columns, lines=120)
        assert done.code == 0
        assert "--dry-run" in done.out
        whole = on_terminal("--help", columns=columns, lines=120)
        assert "unfinished" in whole.out
        # No word was broken: textwrap left each line within the terminal.
        assert "conversations are remembered" in " ".join(whole.out.split())
    nothing = run()
    assert nothing.code == 2
    assert nothing.err.startswith("Usage: onrecord COMMAND [OPTIONS]")
    assert run("help") == run("--help")
    assert run("help", "erase") == run("erase", "--help")
    assert run("help", "nonsense") == run("nonsense")


def test_the_page_is_what_help_says() -> None:
    assert PAGE.read_text("utf-8") == page(), "python -m scripts.command_line"


# -- bad days --------------------------------------------------------------------------------


WITH_A_PASSWORD = [
    (("sessions", "--url", "postgresql://ada:gehe%40im@127.0.0.1:1/d"), 3),
    (("health", "--url", "postgresql://ada:geheim@127.0.0.1:1/d"), 1),
    (("sessions", "--url", "postgresql://ada:gehe@im@127.0.0.1:1/d"), 2),
    (("sessions", "--url", "mysql://ada:geheim@h/d"), 2),
    (("sessions", "postgresql://ada:gehe@im@h/d"), 2),
    (("import", "postgresql://ada:geheim@127.0.0.1:1/d"), 2),
    (("sessions", "--cache", "redis://ada:geheim@127.0.0.1:x/0"), 2),
    (("--url", "host=h password=geheim", "sessions"), 2),
    (("sessions", "host=h password=geheim"), 2),
]


def test_no_password_is_printed(small: Place) -> None:
    for number, (arguments, code) in enumerate(WITH_A_PASSWORD):
        done = small(*arguments, how=run if number % 2 else on_terminal)
        assert done.code == code, done
        written = done.out + done.err
        assert "gehe" not in written
        assert "Traceback" not in written
        assert written


def test_a_cache_that_is_gone_is_told_and_nothing_fails(small: Place) -> None:
    cache = {"ONRECORD_CACHE": "redis://:geheim@127.0.0.1:1/0"}
    done = small("health", env=cache)
    assert done.code == 1
    assert "cache     not ok  redis://:***@127.0.0.1:1/0" in done.out
    shown = small("show", "plain", env=cache)
    assert shown.code == 0
    assert "Hello" in shown.out
    assert "geheim" not in shown.err


def test_who_looks_makes_nothing(tmp_path: Path) -> None:
    """An address that is misspelt is no store, and nobody who looks at one migrates it."""
    for command in ("sessions", "stats", "verify", "compact"):
        done = run(command, "--url", f"sqlite:///{tmp_path / 'typo.db'}")
        assert done.code == 2
        assert "There is no store at sqlite:///" in done.err
    assert run("health", "--url", f"sqlite:///{tmp_path / 'typo.db'}").code == 1
    assert "error  disk" not in run("doctor", "--url", f"sqlite:///{tmp_path / 'typo.db'}").out
    assert list(tmp_path.iterdir()) == []


WRONG = [
    ("--bogus",),
    ("bogus",),
    ("sessions", "--bogus"),
    ("sessions", "--limit", "none"),
    ("sessions", "--metadata", "novalue"),
    ("show",),
    ("show", "plain", "--since", "yesterday"),
    ("search", "x", "--mode", "telepathy"),
    ("unfinished", "--quiet-for", "long"),
    ("import", "--from", "bogus", "x"),
    ("import", "--user", "ada", "x.jsonl"),
    ("import", "--from", "langgraph", "x.db", "--table", "t"),
    ("import", "--from", "langchain-postgres", "postgresql://h/d"),
    ("import", "gone.jsonl"),
    ("export", "wrong.txt"),
    ("erase", "--session", "plain", "--all"),
]


def test_wrong_use_is_told_in_one_message(small: Place) -> None:
    for arguments in WRONG:
        done = small(*arguments)
        assert (done.code, done.out) == (2, ""), (arguments, done)
        assert done.err.startswith("onrecord: ")
        assert done.err.count("\n") == 1


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A session of 20,000 messages."""
    found = Place(f"sqlite:///{tmp_path_factory.mktemp('large') / 'store.db'}", None)
    with Store(found.url, durability="normal") as store:
        session = store.session("large")
        for first in range(0, 20_000, 5_000):
            session.append([("user", f"message {n}") for n in range(first, first + 5_000)])
    return found


def test_a_long_session_is_shown_at_once(large: Place) -> None:
    """Its first messages are there before the later ones are read: who rewrites it meanwhile is
    noticed, and what was printed by then stays."""
    with large.open() as store:
        copy = store.session("large").fork("copy")
        running = Running("show", "copy", env={"ONRECORD_URL": large.url})
        running.wait_for("message 0\n")
        copy.clear()  # the pipe is full by now, and the command waits for its reader
    done = running.done()
    assert done.code == 1, done.err
    assert "copy" in done.err
    assert "message 10\n" in done.out
    assert "message 19000\n" not in done.out


def test_a_reader_that_goes_ends_it_quietly(large: Place) -> None:
    for arguments in (("show", "large"), ("show", "large", "--json"), ("export", "-")):
        into = os.pipe()
        running = Running(*arguments, env={"ONRECORD_URL": large.url}, out=into)
        os.read(into[0], 1)
        os.close(into[0])
        done = running.done()
        assert done == Done(141, "", ""), arguments


def test_ctrl_c_while_it_follows(small: Place) -> None:
    running = Running(
        *("tail", "-f", "plain", "-n", "1", "--every", "0.05"), env={"ONRECORD_URL": small.url}
    )
    running.wait_for("Hi.")
    with small.open() as store:
        session = store.session("plain")
        session.append(("user", "And now?"))
        running.wait_for("And now?")
        session.rewind(1)
        assert "rewritten" in running.wait_for("Hello")
        session.append(("user", "Then this."))
        running.wait_for("Then this.")
    os.kill(running.pid, signal.SIGINT)
    done = running.done()
    assert (done.code, done.err) == (130, "")
    assert done.out.count("And now?") == 1


def test_following_a_session_that_is_not_there_yet(small: Place) -> None:
    running = Running(
        *("tail", "-f", "later", "--every", "0.05", "--json"), env={"ONRECORD_URL": small.url}
    )
    running.wait_for("It is waited for.", running.err)
    with small.open() as store:
        store.session("later").append(("user", "Here."))
    assert json.loads(running.wait_for("\n"))["seq"] == 1
    os.kill(running.pid, signal.SIGINT)
    assert running.done().code == 130


def interrupt_itself() -> None:
    """Have this process send itself a Ctrl-C when the first part of a file is written."""
    write = Target.write

    def interrupted(target: Target, data: bytes) -> None:
        write(target, data)
        if target.bytes > 100_000:
            os.kill(os.getpid(), signal.SIGINT)

    Target.write = interrupted  # type: ignore[method-assign,assignment]


def test_ctrl_c_leaves_nothing_half_done(large: Place, tmp_path: Path) -> None:
    """An import that waits for its source, and an export that is being written."""
    lines = large("export", "-").out.encode().splitlines(keepends=True)
    other = Place(f"sqlite:///{tmp_path / 'other.db'}", None)
    running = Running("import", "-", given=None, env={"ONRECORD_URL": other.url})
    running.give(b"".join(lines[:9_000]))
    os.kill(running.pid, signal.SIGINT)
    done = running.done()
    assert done.code == 130, done
    assert "run it again" in done.err
    with other.open() as store:
        assert store.verify() == []
    assert other("import", "-", given=b"".join(lines)).code == 0
    assert other.lines("stats")[0]["messages"] == 20_000

    file = tmp_path / "out" / "all.jsonl"
    file.parent.mkdir()
    export = Running("export", file, env={"ONRECORD_URL": large.url}, before=interrupt_itself)
    assert export.done().code == 130
    assert list(file.parent.iterdir()) == []


# -- foreign histories -----------------------------------------------------------------------


def test_histories_of_others_are_brought(
    small: Place, tmp_path: Path, postgres_url: str, redis_server: RedisServer
) -> None:
    for module in {kind.module for kind in histories.KINDS.values()}:
        importlib.import_module(module)  # here, and not in each child
    importlib.import_module("langgraph_onrecord.importers")
    said = json.dumps({"type": "human", "data": {"content": "Hello", "type": "human"}})
    chat = {"role": "user", "blocks": [{"block_type": "text", "text": "Hello"}]}
    old = tmp_path / "old.db"
    with contextlib.closing(sqlite3.connect(old)) as connection:
        connection.executescript(
            "CREATE TABLE message_store (id INTEGER PRIMARY KEY, session_id TEXT, message TEXT);"
            "CREATE TABLE llama_index_memory (id INTEGER PRIMARY KEY, key TEXT, timestamp INTEGER,"
            " role TEXT, status TEXT, data TEXT);"
        )
        connection.execute("INSERT INTO message_store VALUES (1, 's', ?)", (said,))
        connection.execute("INSERT INTO message_store VALUES (2, 's', '{cut o')")
        connection.execute(
            "INSERT INTO llama_index_memory VALUES (1, 's', 0, 'user', 'active', ?)",
            (json.dumps(chat),),
        )
        connection.commit()
    with psycopg.connect(postgres_url) as server:
        server.execute(
            "CREATE TABLE chat_history (id SERIAL, session_id TEXT, message JSONB,"
            " created_at TIMESTAMPTZ DEFAULT now())"
        )
        server.execute("INSERT INTO chat_history (session_id, message) VALUES ('s', %s)", (said,))
        server.execute("CREATE TABLE data_chatstore (id SERIAL, key TEXT, value JSON[])")
        server.execute(
            "INSERT INTO data_chatstore (key, value) VALUES ('s', ARRAY[%s::json])",
            (json.dumps(chat),),
        )
    (tmp_path / "chat.json").write_text(json.dumps({"store": {"s": [chat]}}))
    prefix = f"{tmp_path.name}:"
    with contextlib.closing(redis.Redis.from_url(redis_server.url)) as client:
        client.rpush(f"{prefix}s", said)
        client.rpush(f"{prefix}llama", json.dumps(chat))
    with contextlib.closing(sqlite3.connect(tmp_path / "saver.db")) as connection:
        saver = SqliteSaver(connection)
        config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
        saver.put(config, empty_checkpoint(), {}, {})

    def brought(kind: str, source: str, *more: str, code: int = 0) -> dict[str, Any]:
        [found] = small.lines(*("import", "--from", kind, source, "--user", kind, *more), code=code)
        assert found["sessions"] == 1
        assert found["messages"] or found["checkpoints"] == 1
        return found

    half = brought("langchain-sql", f"sqlite:///{old}", code=1)
    assert half["unread"][0]["session"] == "s"
    brought("langchain-postgres", postgres_url, "--table", "chat_history", "--only", "s")
    brought("langchain-redis", redis_server.url, "--key-prefix", prefix, "--only", "s")
    brought("llama-index-sql", f"sqlite:///{old}")
    brought("llama-index-postgres", postgres_url)
    brought("llama-index-redis", redis_server.url, "--pattern", f"{prefix}llama")
    brought("llama-index-json", str(tmp_path / "chat.json"))
    brought("langgraph", f"sqlite:///{tmp_path / 'saver.db'}")
    again = small("import", "--from", "langchain-sql", f"sqlite:///{old}", "--user", "twice")
    assert "1 message of 1 session brought, 0 were there." in again.out
    assert "not read: row 2 of session 's'" in again.out

    secret = ("import", "--from", "langgraph", "postgresql://ada:geheim@127.0.0.1:1/d")
    gone = small(*secret)
    assert (gone.code, gone.out) == (3, "")
    assert "geheim" not in gone.err


# -- real processes --------------------------------------------------------------------------


def test_as_a_module_and_by_its_name(small: Place) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "onrecord", "sessions", "--url", small.url],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[1].split()[0] == "plain"
    assert done.stderr == ""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"onrecord": "onrecord.cli:main"}


def test_without_its_extra_it_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['typer'] = None\nfrom onrecord.cli import main\nsys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr == 'onrecord: the command line needs its extra: pip install "onrecord[cli]"\n'
    )


def test_help_is_quick() -> None:
    """No store is loaded to say which commands there are."""
    program = (
        "import sys; sys.argv = ['onrecord', '--help']\n"
        "from onrecord.cli import main\n"
        "main(); heavy = ['onrecord.operations', 'onrecord.codec', 'sqlalchemy', 'pydantic',"
        " 'rich', 'psycopg']\n"
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.startswith("Usage: onrecord")
    assert done.stderr == "[]\n"


def test_a_shell_completes_commands_and_options() -> None:
    def completed(words: str, at: int) -> list[str]:
        asked = {"_ONRECORD_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(at)}
        return run(env=asked).out.split()

    assert completed("onrecord se", 1) == ["sessions", "search"]
    assert completed("onrecord erase --dr", 2) == ["--dry-run"]
