"""What notebooks show: readable, nothing but our own markup, and no failure that looks empty."""

import base64
import json
import re
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onrecord import (
    ANY,
    Audio,
    Citation,
    File,
    Hit,
    Hits,
    Image,
    Items,
    Message,
    Opaque,
    Passage,
    Reasoning,
    Recalled,
    Refusal,
    Session,
    Store,
    Text,
    ToolCall,
    ToolResult,
    Video,
)
from onrecord.notebook.display import (
    LARGEST_IMAGE,
    MOST_ITEMS,
    MOST_MESSAGES,
    hits_html,
    items_html,
    recalled_html,
    session_html,
    store_html,
)
from onrecord.notebook.markup import LONGEST_TEXT

WHEN = datetime(2026, 11, 18, 8, 30, tzinfo=UTC)
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

TAGS = {"b", "bdi", "details", "div", "img", "pre", "span", "summary"}
TAGS |= {"table", "tbody", "td", "th", "thead", "tr"}
ATTRIBUTES = {"alt", "dir", "role", "src", "style", "title"}
STYLES = re.compile(r"[\w\s.,:;%#()\-]*")


class Page(HTMLParser):
    """Reads what was shown the way a browser would, and refuses what we would never write."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(markup)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        found = dict(attrs)
        assert set(found) <= ATTRIBUTES, found
        assert len(found) == len(attrs)
        assert STYLES.fullmatch(found.get("style") or ""), found
        assert "url" not in (found.get("style") or "")
        if "src" in found:
            assert re.fullmatch(
                r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]*", found["src"] or ""
            )
        self.tags.append((tag, found))
        if tag != "img":
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        raise AssertionError(f"<{tag}/>")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if re.search("[\u202a-\u202e\u2066-\u2069]", data):
            # A direction ends with the innermost bdi, or with a block of its own.
            assert self._open[-1] in ("bdi", "pre", "div"), self._open

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"<!--{data}-->")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(f"<!{decl}>")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"<?{data}>")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"<![{data}]>")

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


@pytest.fixture
def store() -> Iterator[Store]:
    with Store("sqlite://") as store:
        yield store


@pytest.fixture
def chat(store: Store) -> Session:
    return store.session("support-42", user="ada")


# -- a conversation --------------------------------------------------------------------------


def test_a_conversation_is_readable(chat: Session) -> None:
    chat.append(
        [
            Message("user", "It has not arrived.\n\n  A-1017,\n  two books.", created_at=WHEN),
            Message("assistant", "Let me look.", name="Desk", created_at=WHEN),
        ]
    )
    chat.update(title="Where is it?")
    page = Page(session_html(chat))
    assert "It has not arrived.\n\n  A-1017,\n  two books." in page.text
    for shown in ("Where is it?", "support-42", "user ada", "2 messages", "1 turn", "Desk"):
        assert shown in page.text
    assert "Wednesday, 18 November 2026" in page.text
    assert "#2 · 08:30" in page.text
    assert "earlier" not in page.text
    assert page.count("details") == 0


def test_only_the_newest_messages_are_shown_and_the_others_counted(chat: Session) -> None:
    chat.append([("user", f"<{n}>") for n in range(1, MOST_MESSAGES + 813)])
    page = Page(session_html(chat))
    assert "… 812 earlier messages" in page.text
    assert "<812>" not in page.text
    assert "<813>" in page.text
    assert f"<{MOST_MESSAGES + 812}>" in page.text


def test_an_empty_conversation_says_so(chat: Session) -> None:
    page = Page(session_html(chat))
    assert "support-42" in page.text
    assert "No messages yet" in page.text


def test_tool_calls_and_their_results_are_folded_and_belong_together(chat: Session) -> None:
    chat.append(
        [
            Message(
                "assistant",
                (
                    Reasoning("Look it up first."),
                    ToolCall("find_order", {"number": "A-1017", "when": WHEN}, "c1"),
                    ToolCall("weather", '{"broken', "c2"),
                    ToolCall("refund", {}, "c3"),
                ),
            ),
            Message("tool", '{"status": "in customs"}', tool_call_id="c1"),
            Message("user", (ToolResult("c2", "no such city", is_error=True),)),
            Message("tool", "whose is this?", tool_call_id="nobody", name="search"),
        ]
    )
    page = Page(session_html(chat))
    assert page.count("details") == 7
    assert '"number": "A-1017",\n  "when": "2026-11-18 08:30:00+00:00"' in page.text
    assert "result of find_order" in page.text
    assert "failed: weather" in page.text
    assert '{"broken' in page.text
    assert re.search(r"calls refund\s+no result", page.text)
    assert page.text.count("no result") == 1
    assert "search (whose call is not in this session)" in page.text
    assert "Look it up first." in page.text


def test_a_result_whose_call_is_further_up_does_not_look_like_a_stray(chat: Session) -> None:
    chat.append(Message("assistant", (ToolCall("slow", {}, "c1"),)))
    chat.append([("user", "meanwhile")] * MOST_MESSAGES)
    chat.append(Message("tool", "done", tool_call_id="c1"))
    assert "a tool (called earlier)" in Page(session_html(chat)).text


@pytest.mark.parametrize(
    "image",
    [
        Image(PNG, media_type="image/svg+xml"),
        Image(PNG, media_type='image/png" onload="alert(1)'),
        Image(PNG),
        Image(PNG, media_type="text/html"),
        Image(b"x" * (LARGEST_IMAGE + 1), media_type="image/png"),
        Image(url="https://tracker.example/pixel.png", media_type="image/png"),
        Image(url="javascript:alert(1)"),
        Image(url="data:image/svg+xml,<svg onload=alert(1)>"),
        Image(),
    ],
)
def test_what_is_not_a_small_picture_is_described_and_not_loaded(
    chat: Session, image: Image
) -> None:
    chat.append(Message("user", (image,)))
    page = Page(session_html(chat))
    assert page.count("img") == 0
    assert "image" in page.text
    assert (image.url or "") in page.text


def test_pictures_are_shown_from_their_own_bytes_until_they_are_too_many(chat: Session) -> None:
    chat.append(Message("user", (Image(PNG, media_type="image/PNG", name='a"b'),)))
    page = Page(session_html(chat))
    [shown] = [attributes for tag, attributes in page.tags if tag == "img"]
    assert shown["src"] == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert shown["alt"] == 'a"b'
    large = Image(b"x" * LARGEST_IMAGE, media_type="image/png")
    chat.append([Message("user", (large,))] * 20)
    assert 0 < Page(session_html(chat)).count("img") < 20
    assert len(session_html(chat)) < 8_000_000


def test_other_blocks_are_named(chat: Session) -> None:
    chat.append(
        Message(
            "assistant",
            (
                Audio(b"x" * 2048, media_type="audio/wav"),
                Video(url="https://example.org/film.mp4"),
                File(b"%PDF", media_type="application/pdf", name="invoice.pdf"),
                Citation("Customs take 5 days.", "help pages"),
                Refusal("I must not say."),
                Opaque("langchain", "cache_point", {"ttl": 5}),
            ),
        )
    )
    text = Page(session_html(chat)).text
    for shown in (
        "audio · audio/wav · 2,048 bytes",
        "video · https://example.org/film.mp4",
        "file · invoice.pdf · application/pdf · 4 bytes",
        "source: Customs take 5 days. (help pages)",
        "refused: I must not say.",
        "cache_point of langchain",
        '"ttl": 5',
    ):
        assert shown in text


def test_very_long_texts_are_cut(chat: Session) -> None:
    chat.append(("user", "x" * (LONGEST_TEXT + 1234)))
    markup = session_html(chat)
    assert "… 1,234 more characters" in Page(markup).text
    assert len(markup) < LONGEST_TEXT + 5_000


def test_a_damaged_message_is_visible(tmp_path: Path) -> None:
    file = tmp_path / "m.db"
    with Store(f"sqlite:///{file}") as store:
        store.session("s").append([("user", "one"), ("user", "two")])
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE onrecord_tail SET frame = x'01' WHERE seq = 1")
    connection.close()
    with Store(f"sqlite:///{file}") as store:
        page = Page(session_html(store.session("s")))
    assert "damaged" in page.text
    assert "can no longer be read" in page.text
    assert "two" in page.text


# -- a store ---------------------------------------------------------------------------------


def test_a_store_lists_its_sessions_of_every_scope(store: Store) -> None:
    for n in range(25):
        chat = store.session(f"chat-{n:02}", tenant="acme" if n % 2 else "", user=f"u{n}")
        chat.append(Message("user", "hi"))
    store.session("chat-24", user="u24").update(title="Returns")
    page = Page(store_html(store))
    assert "sqlite://" in page.text
    assert page.count("tr") == 21
    assert "Returns" in page.text
    assert "tenant acme · user u23" in page.text
    assert "chat-04" not in page.text
    assert "and more" in page.text


def test_an_empty_store_says_how_to_begin(store: Store) -> None:
    page = Page(store_html(store))
    assert "store.session(" in page.text
    assert page.count("table") == 0
    shown = next(line for line in page.text.splitlines() if "store.session(" in line)
    begin = shown[shown.index("store.session(") :]
    exec(begin, {"store": store})  # what is advised works
    assert Page(store_html(store)).count("tr") == 2


def test_the_password_is_hidden(postgres_url: str) -> None:
    with Store("postgresql://me:s3cret@127.0.0.1:1/x", timeout=1) as nowhere:
        for markup in (nowhere._repr_html_(), nowhere.session("s")._repr_html_()):
            assert "s3cret" not in markup
    with Store(postgres_url) as store:
        store.session("s").append(("user", "hi"))
        assert "postgresql://" in Page(store._repr_html_()).text
        assert Page(store.session("s")._repr_html_()).text.count("hi") == 1


# -- items -----------------------------------------------------------------------------------


@pytest.fixture
def facts(store: Store) -> Items:
    return store.items("facts", "travel", user="ada", tenant="acme")


def test_items_are_a_table_by_key(facts: Items) -> None:
    facts.put("seat", {"window": True, "since": WHEN})
    facts.put("city", "Lyon")
    facts.put("city", "Paris")
    kept = facts.get("city")
    assert kept is not None
    page = Page(items_html(facts))
    assert "facts / travel" in page.text
    assert "tenant acme · user ada · 2 items · times in UTC" in page.text
    assert "Expires" not in page.text
    written = kept.updated_at.strftime("%Y-%m-%d %H:%M")
    for shown in (
        f'city"Paris"{kept.version}{written}',
        'seat{"window": true, "since": "2026-11-18 08:30:00+00:00"}',
    ):
        assert shown in page.text
    assert page.count("details") == 0


def test_when_an_item_expires_is_shown_where_one_does(facts: Items) -> None:
    facts.put("city", "Lyon")
    kept = facts.put("draft", {"text": "Dear Ada"}, ttl=3600)
    assert kept.expires_at is not None
    page = Page(items_html(facts))
    expires = kept.expires_at.strftime("%Y-%m-%d %H:%M")
    assert "Expires" in page.text
    assert page.text.count(expires) == 1


def test_a_long_value_is_folded_and_a_very_long_one_cut(facts: Items) -> None:
    facts.put("list", {"things": ["thing"] * 40})
    facts.put("text", "x" * (LONGEST_TEXT + 500))
    page = Page(items_html(facts))
    assert page.count("details") == 2
    assert '"things": [\n    "thing",' in page.text
    assert "… 502 more characters" in page.text


def test_only_the_first_items_are_shown_and_the_others_counted(facts: Items) -> None:
    facts.put_many({f"fact-{n:03}": n for n in range(MOST_ITEMS)})
    assert "more" not in Page(items_html(facts)).text
    facts.put_many({f"fact-{n:03}": n for n in range(1_500)})
    page = Page(items_html(facts))
    assert page.count("tr") == MOST_ITEMS + 1
    assert "1,500 items" in page.text
    assert f"… and {1_500 - MOST_ITEMS:,} more items behind these." in page.text


def test_a_namespace_without_items_says_how_to_begin(facts: Items) -> None:
    page = Page(items_html(facts))
    assert "0 items" in page.text
    begin = next(line for line in page.text.splitlines() if "items.put(" in line)
    exec(begin[begin.index("items.put(") :], {"items": facts})  # what is advised works
    assert Page(items_html(facts)).count("tr") == 2


def test_a_damaged_item_is_visible(tmp_path: Path) -> None:
    file = tmp_path / "m.db"
    with Store(f"sqlite:///{file}") as store:
        store.items("facts").put_many({"city": "Lyon", "tea": "green"})
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE onrecord_items SET body = x'01' WHERE key = 'city'")
    connection.close()
    with Store(f"sqlite:///{file}") as store:
        page = Page(items_html(store.items("facts")))
    assert "damaged" in page.text
    assert '"green"' in page.text


# -- what was found --------------------------------------------------------------------------


def ferry(store: Store, key: str = "support-42", user: str = "ada") -> Session:
    session = store.session(key, user=user)
    call = ToolCall("ticket", {"about": "the refund of the ferry ticket"}, "c1")
    session.append(
        [
            Message("user", "Can I have a refund for the ferry ticket?", created_at=WHEN),
            Message("assistant", [call], created_at=WHEN),
            Message("tool", "The ferry ticket: refund in full.", tool_call_id="c1"),
            Message("assistant", "Yes. " * 200 + "A refund for the ferry ticket.", name="Desk"),
        ]
    )
    session.append([("user", f"noodles, part {n}") for n in range(30)])
    return session


def test_hits_say_how_well_they_answer_who_said_them_where_and_when(store: Store) -> None:
    ferry(store).update(title="The <b>ferry</b>")
    page = Page(hits_html(store.search("refund for the ferry ticket", user="ada", limit=4)))
    assert "4 hitsuser ada · times in UTC" in page.text
    assert page.text.count("The <b>ferry</b>#") == 4
    assert "#1 · 2026-11-18 08:30" in page.text
    assert "calls ticket" in page.text, "what has no text is not empty"
    assert "result of a tool (called earlier)" in page.text
    assert "no result" not in page.text, "the result is in another message"
    assert "assistant Desk" in page.text
    assert "…all of it" in page.text
    widths = [style for _, found in page.tags if "height:4px;border" in (style := str(found))]
    assert len(widths) == 4
    assert all(re.search(r"width:\d+%", style) for style in widths)


def test_hits_of_several_people_say_whose_each_is(store: Store) -> None:
    for user in ("ada", "bob"):
        ferry(store, user=user)
    page = Page(hits_html(store.search("refund for the ferry ticket", user=ANY, limit=2)))
    assert "support-42user ada#" in page.text
    assert "support-42user bob#" in page.text
    assert "hitstimes in UTC" in page.text


def test_what_was_recalled_reads_like_a_conversation(store: Store) -> None:
    recalled = ferry(store).recall("refund for the ferry ticket")
    page = Page(recalled_html(recalled))
    assert "support-42 · user ada · score" in page.text
    assert "Wednesday, 18 November 2026" in page.text
    assert "result of ticket" in page.text
    assert f"{len(recalled.messages)} messages" in page.text
    assert "no time" not in page.text
    rest = Recalled(recalled.passages, tokens=9, complete=False)
    assert "There was no time" in Page(recalled_html(rest)).text


def test_a_search_that_saw_a_part_never_looks_like_one_that_found_nothing() -> None:
    for complete in (True, False):
        for markup in (
            hits_html(Hits(complete=complete)),
            recalled_html(Recalled((), tokens=0, complete=complete)),
        ):
            assert ("no time" in Page(markup).text) is not complete


def test_images_in_hits_share_what_all_of_them_may_take(store: Store) -> None:
    session = store.session("pictures")
    image = Image(data=PNG + b"x" * (LARGEST_IMAGE - len(PNG)), media_type="image/png")
    for n in range(9):
        session.append(Message("user", [Text(f"a heron, {n}"), image, image]))
    hits = store.search("heron")
    assert Page(hits_html(hits)).count("img") == 0
    assert Page(hits_html(Hits(hits[:4]))).count("img") == 8


# -- failures --------------------------------------------------------------------------------


def test_a_failed_read_does_not_look_like_an_empty_history(tmp_path: Path) -> None:
    file = tmp_path / "m<b>.db"
    file.write_bytes(b"this is not a database, " * 100)
    with Store(f"sqlite:///{file}") as store:
        shown = (store, store.session("s"), store.items("facts"))
        for markup in (one._repr_html_() for one in shown):
            page = Page(markup)
            assert any(attributes.get("role") == "alert" for _, attributes in page.tags)
            assert "could not be read" in page.text
            assert "Misconfigured" in page.text
            assert "is not a SQLite database" in page.text
            assert "No messages yet" not in page.text
            assert "Nothing is kept" not in page.text


def test_what_is_not_ours_is_not_hidden(chat: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Session, "tail", broken)
    with pytest.raises(ZeroDivisionError):
        session_html(chat)


# -- nobody's text becomes markup ------------------------------------------------------------

ATTACKS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "</bdi></div></details><h1>",
    "javascript:alert(1)",
    '" style="position:fixed" x="',
    "<!-- -->",
    "&lt;b&gt;&#60;b&#62;&",
    "\u202egnp.exe",
    "\u2067\u2066unclosed",
    "]]><![CDATA[",
    "{{7*7}}${7*7}",
    "a\r\nb\rc\x0b\x1b[31m",
]


def everywhere(text: str, name: str) -> list[Message]:
    """Messages with a text in every field that can hold one."""
    inside: dict[str, Any] = {text: [text, {text: text}]}
    return [
        Message(
            name,
            (
                Text(text, inside),
                Image(b"x", None, text, text, inside),
                Image(url=text, media_type=text, name=text),
                Image(PNG, media_type="image/png", name=text),
                Audio(url=text, media_type=text, name=text),
                Video(url=text, media_type=text, name=text),
                File(b"x", media_type=text, name=text),
                Reasoning(text, text, inside),
                ToolCall(text, inside, text, inside),
                ToolCall(text, text, None),
                ToolResult(text, (Text(text), Image(url=text)), True, inside),
                ToolResult(text + "?", (Text(text),)),
                Citation(text, text, inside),
                Refusal(text, inside),
                Opaque(text, text, inside),
                Opaque("onrecord", "damaged", text),
            ),
            name=text,
            usage=inside,
            metadata=inside,
            native=inside,
            id=name,
            created_at=WHEN,
        ),
        Message("tool", text, name=text, tool_call_id=text),
        Message("tool", text, name=text, tool_call_id=text + "!"),
    ]


def shape(page: Page) -> list[tuple[str, list[tuple[str, str | None]]]]:
    """A page without anybody's text: its tags, and those attributes that are ours alone."""
    return [
        (tag, sorted((k, v) for k, v in attributes.items() if k not in ("title", "alt")))
        for tag, attributes in page.tags
    ]


@cache
def harmless() -> tuple[Page, ...]:
    return show("harmless", "harmless")


def show(text: str, name: str) -> tuple[Page, ...]:
    with Store("sqlite://") as store:
        chat = store.session(name, tenant=name, user=name, agent=name)
        chat.append(everywhere(text, name))
        chat.update(title=text, metadata={text: text})
        facts = store.items(name, name, tenant=name, user=name, agent=name)
        facts.put(name, {"long": "x" * LONGEST_TEXT, text: text}, ttl=3600)
        info, messages = chat.info(), chat.messages()
        hits = hits_html(Hits([Hit(message, info, 0.5, chat) for message in messages]))
        passages = [Passage(info, tuple(messages), 0.5)]
        recalled = recalled_html(Recalled(passages, tokens=1, complete=True))
        found = session_html(chat), store_html(store), items_html(facts), hits, recalled
        for markup in found:
            markup.encode()  # a notebook is saved as UTF-8
        return tuple(map(Page, found))


@pytest.mark.parametrize("attack", ATTACKS)
def test_markup_in_any_field_is_shown_as_text(attack: str) -> None:
    conversation, listing, kept, hits, recalled = show(attack, attack)
    assert shape(conversation) == shape(harmless()[0])
    assert shape(listing) == shape(harmless()[1])
    assert shape(kept) == shape(harmless()[2])
    assert shape(hits) == shape(harmless()[3])
    assert shape(recalled) == shape(harmless()[4])
    if attack.isprintable():
        assert conversation.text.count(attack) > 15
        assert listing.text.count(attack) >= 3
        assert kept.text.count(attack) >= 6
        assert hits.text.count(attack) > 15
        assert recalled.text.count(attack) > 15


@pytest.mark.parametrize("attack", ATTACKS)
def test_markup_in_a_short_value_is_shown_as_text(attack: str, store: Store) -> None:
    facts = store.items("facts")
    facts.put("a", "harmless")
    plain = shape(Page(items_html(facts)))
    facts.put("a", attack)
    page = Page(items_html(facts))
    assert shape(page) == plain
    assert json.dumps(attack, ensure_ascii=False) in page.text


names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_categories=[]), min_size=1), name=names)
def test_no_text_changes_the_markup(text: str, name: str) -> None:
    """Arbitrary text, lone surrogates and control characters among it, in every field."""
    for page, plain in zip(show(text, name), harmless(), strict=True):
        assert {tag for tag, _ in page.tags} <= {tag for tag, _ in plain.tags}
        assert page.count("img") == plain.count("img")
        assert page.count("details") == plain.count("details")
        assert not re.search("[\x00-\x08\x0b-\x1f\ud800-\udfff]", page.text)
