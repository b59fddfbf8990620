"""Cases: what a namespace may be, and listing them."""

from __future__ import annotations

from typing import Any

from langgraph.store.base import PutOp

from onrecord.testing.langgraph_store.case import Group, Question, expect, expect_same
from onrecord.testing.langgraph_store.subject import Namespace, Subject

NAMESPACES = Group(
    "Namespaces",
    "They keep users apart, so that a label is compared as it is and as a whole.",
)


def _refused(*bad: Any, below_root: bool = True) -> Question:
    async def question(ask: Subject) -> None:
        namespace = (ask.root, *bad) if below_root else bad
        try:
            await ask.put(namespace, "k", {})
        except Exception:  # any refusal is right
            expect_same(await ask.namespaces(), [], "namespaces all the same")
            return
        if not below_root:
            await ask.delete(namespace, "k")
        expect(False, "it is taken")

    return question


NAMESPACES.add("no_labels", "A namespace without labels is refused.", _refused(below_root=False))
NAMESPACES.add("empty_label", "An empty label is refused.", _refused("a", ""))
NAMESPACES.add("dotted_label", "A label with a dot is refused.", _refused("a.b"))
NAMESPACES.add("label_no_text", "A label that is no text is refused.", _refused(1))
NAMESPACES.add(
    "langgraph_root",
    "A namespace whose first label is `langgraph` is refused.",
    _refused("langgraph", "a", below_root=False),
)


@NAMESPACES.case("An operation of a batch is held to the same: a dotted label is no two labels.")
async def batch_checks_labels(ask: Subject) -> None:
    try:
        await ask.batch([PutOp(ask.ns("a.b"), "k", {})])
    except Exception:  # any refusal is right
        expect_same(await ask.namespaces(), [], "namespaces all the same")
    else:
        expect(await ask.get(ask.ns("a", "b"), "k") is None, "it is found below two labels")
        expect_same(await ask.namespaces(), [ask.ns("a.b")], "namespaces")


@NAMESPACES.case("Labels are literal: `%`, `_`, `?`, `[a]`, backslashes, newlines, case, accents.")
async def labels_are_literal(ask: Subject) -> None:
    labels = [
        "axb",
        "a%b",
        "a_b",
        "a?b",
        "a*b",
        "a[x]b",
        "a\\b",
        "A%B",
        "a'b",
        'a"b',
        "a{x}b",
        "a:b",
        "áb",
    ]
    labels.append("axb\n")
    for label in labels:
        await ask.put(ask.ns(label, "x"), "k", {"label": label})
    for label in labels:
        hits = [hit.value["label"] for hit in await ask.search(ask.ns(label))]
        expect_same(hits, [label], f"below {label!r}")
        listed = await ask.namespaces(prefix=ask.ns(label))
        expect_same(listed, [ask.ns(label, "x")], f"listed below {label!r}")
        item = await ask.get(ask.ns(label, "x"), "k")
        expect_same(item and item.value, {"label": label}, f"value in {label!r}")


@NAMESPACES.case("To get or to delete what is not there makes no namespace.")
async def get_makes_nothing(ask: Subject) -> None:
    expect(await ask.get(ask.ns("not", "there"), "k") is None, "something is found")
    await ask.delete(ask.ns("not", "here"), "k")
    expect_same(await ask.namespaces(), [], "namespaces")


@NAMESPACES.case("A namespace whose last item was deleted is listed no more.")
async def emptied_is_not_listed(ask: Subject) -> None:
    await ask.put(ask.ns("a"), "k", {})
    await ask.put(ask.ns("b"), "k", {})
    await ask.delete(ask.ns("a"), "k")
    expect_same(await ask.namespaces(), [ask.ns("b")], "namespaces")


async def _put_some(ask: Subject) -> None:
    for labels in ("u1 p", "u1 q", "u2 p", "u2 p x", "p u1", "u1 p x", "u10 p"):
        await ask.put(ask.ns(*labels.split()), "k", {})


async def _expect_listed(ask: Subject, want: str, **options: Any) -> None:
    found = [" ".join(namespace[1:]) for namespace in await ask.namespaces(**options)]
    expect_same(sorted(found), sorted(filter(None, want.split(", "))), "listed")


@NAMESPACES.case("Listed by prefix: whole labels.")
async def list_by_prefix(ask: Subject) -> None:
    await _put_some(ask)
    await _expect_listed(ask, "u1 p, u1 q, u1 p x", prefix=ask.ns("u1"))
    await _expect_listed(ask, "u2 p x", prefix=ask.ns("u2", "p", "x"))
    await _expect_listed(ask, "", prefix=ask.ns("u2", "p", "x", "y"))


@NAMESPACES.case("Listed by suffix: whole labels; with a prefix, both hold.")
async def list_by_suffix(ask: Subject) -> None:
    await _put_some(ask)
    await _expect_listed(ask, "u1 p, u2 p, u10 p", suffix=("p",))
    await _expect_listed(ask, "u2 p x, u1 p x", suffix=("p", "x"))
    await _expect_listed(ask, "u1 p x", prefix=ask.ns("u1"), suffix=("x",))


@NAMESPACES.case("`*` in a prefix or suffix is one label, whichever.")
async def list_by_wildcard(ask: Subject) -> None:
    await _put_some(ask)
    await _expect_listed(ask, "u1 p, u2 p, u2 p x, u1 p x, u10 p", prefix=ask.ns("*", "p"))
    await _expect_listed(ask, "u2 p x, u1 p x", prefix=ask.ns("*", "*", "x"))
    await _expect_listed(ask, "u1 p x, u2 p x", suffix=("p", "*"), prefix=ask.ns("*", "p", "*"))


@NAMESPACES.case("`max_depth` cuts, and what is then the same is one, before the limit counts.")
async def max_depth(ask: Subject) -> None:
    for n in range(5):
        await ask.put(ask.ns("a", f"s{n}", "t"), "k", {})
    await ask.put(ask.ns("b"), "k", {})
    await _expect_listed(ask, "a, b", max_depth=2, limit=2)
    await _expect_listed(ask, "a s0, a s1, a s2, a s3, a s4, b", max_depth=3)
    second = await ask.namespaces(max_depth=2, limit=1, offset=1)
    first = await ask.namespaces(max_depth=2, limit=1)
    expect_same(sorted([*first, *second]), [ask.ns("a"), ask.ns("b")], "two pages of one")


@NAMESPACES.case("Pages of a list have each namespace once, and 100 are listed without a limit.")
async def list_pages(ask: Subject) -> None:
    labels = [f"n{n:03}" for n in range(103)]
    await ask.batch([PutOp(ask.ns(label), "k", {}) for label in labels])
    found: list[Namespace] = []
    for offset in range(0, 110, 10):
        found += await ask.namespaces(limit=10, offset=offset)
    expect_same(len(found), len(labels), "namespaces on all pages")
    expect(sorted(found) == [ask.ns(label) for label in labels], "a page repeats another's")
    expect_same(len(await ask.namespaces()), 100, "namespaces without a limit")
