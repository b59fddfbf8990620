#!/bin/sh
# Sets up the project's own .venv, and does nothing when it is up to date.
#
#     scripts/venv.sh core     Onrecord alone
#     scripts/venv.sh demo     Onrecord, LangChain and LlamaIndex
#     scripts/venv.sh dev      Onrecord and what the tests need
#     scripts/venv.sh bench    Onrecord and who is measured beside it, in .venv-bench
#     scripts/venv.sh upstream Onrecord and what the frameworks' own suites need, in .venv-upstream
#     scripts/venv.sh docs     what the site is built with, in .venv-docs
#     scripts/venv.sh failover Onrecord and Patroni, in .venv-failover
#     scripts/venv.sh release  what packages are built and checked with, in .venv-release
#     scripts/venv.sh oldest   as dev, with the floors of pyproject.toml, in .venv-oldest
#     scripts/venv.sh newest   as dev, with what the index has today, in .venv-newest
#
# All but the newest install what requirements/ says, to the byte. Uses uv where it is on PATH, else
# python3 -m venv and pip. PYTHON=… names an interpreter.
set -eu

want=$1
venv=.venv
before=   # the first Python 3 that is too new
CDPATH='' cd -- "$(dirname -- "$0")/.."
here=$(pwd -P)

complain() {
    echo "$1" >&2
    exit 1
}

case $want in
core) extras= ;;
demo) extras=', LangChain and LlamaIndex' ;;
dev) extras=' and what the tests need' ;;
# LlamaIndex's PostgresChatStore asks for an asyncpg that has no wheel for 3.14.
bench) extras=' and who is measured beside it' venv=.venv-bench before=14 ;;
upstream) extras=" and what the frameworks' own suites need" venv=.venv-upstream ;;
docs) extras=' and what the site is built with' venv=.venv-docs ;;
failover) extras=' and Patroni' venv=.venv-failover ;;
release) extras=' and what packages are built with' venv=.venv-release ;;
# The oldest packages have wheels for the oldest Python.
oldest) extras=' and the oldest of what the tests need' venv=.venv-oldest before=12 ;;
newest) extras=' and the newest of what the tests need' venv=.venv-newest ;;
*) complain "usage: scripts/venv.sh core|demo|dev|bench|upstream|docs|failover|release|oldest|newest" ;;
esac

# Two makes at once would build one .venv from both ends. (macOS has no flock.)
if command -v flock >/dev/null 2>&1; then
    exec 9>.venv.lock
    flock 9
fi

suits() {
    "$1" -c "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, ${before:-99}))" >/dev/null 2>&1
}

can_make_venv() {
    "$1" -c 'import ensurepip, venv' >/dev/null 2>&1
}

has_uv() {
    command -v uv >/dev/null 2>&1
}

# A stamp holds the path of its checkout: in a copy of the folder, .venv still points at the original.
# The newest are never up to date: what the index has is known only there.
is_fresh() {
    stamp=$venv/.$1
    [ "$1" != newest ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$here" ] &&
        [ -z "$(find pyproject.toml "requirements/$1.txt" -newer "$stamp")" ]
}

# A .venv made by uv has no pip in it, which matters once uv is gone. One without pyvenv.cfg (its
# making was cut off) is no environment: pip would install into the Python it was made from.
is_usable() {
    suits $venv/bin/python && [ -f $venv/pyvenv.cfg ] &&
        { has_uv || $venv/bin/python -c 'import pip' >/dev/null 2>&1; }
}

find_python() {
    too_bare=
    for python in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11 python; do
        suits "$python" || continue
        if has_uv || can_make_venv "$python"; then
            return 0
        fi
        too_bare=${too_bare:-$python}
    done
    python=
}

make_venv() {
    find_python
    if has_uv; then
        rm -rf $venv
        uv venv --quiet --python "${python:->=3.11${before:+,<3.$before}}" $venv
    elif [ -n "$python" ]; then
        "$python" -m venv --clear $venv
    elif [ -n "$too_bare" ]; then
        complain "$too_bare cannot make a virtual environment: install its venv module (Debian, Ubuntu: apt install python3-venv) or uv, then try again."
    else
        needs="Python 3.11 or newer${before:+, before 3.$before,}"
        complain "Onrecord needs $needs and found none on PATH: install one, or uv (which brings its own), then try again."
    fi
}

install() {
    if has_uv; then
        uv pip install --quiet --python $venv/bin/python "$@"
    else
        PIP_ROOT_USER_ACTION=ignore $venv/bin/python -m pip install \
            --quiet --quiet --no-input --disable-pip-version-check "$@"
    fi
}

if suits $venv/bin/python && [ -f $venv/pyvenv.cfg ]; then
    is_fresh "$want" && exit 0
    # What the tests need includes the others, and the demo the core.
    case $want in
    core) is_fresh demo && exit 0 ;;
    esac
    case $want in
    core | demo) is_fresh dev && exit 0 ;;
    esac
fi

is_usable || make_venv
echo "Installing Onrecord$extras into $venv (a minute or so)"
rm -f "$venv/.$want"
if [ "$want" = newest ]; then
    newest=--upgrade
    has_uv || newest='--upgrade --upgrade-strategy=eager'
    # shellcheck disable=SC2086 # two words
    install $newest --editable '.[dev]'
else
    # As a constraint too: to pip psycopg[binary], which a package asks for, is another one than the
    # psycopg that is pinned, and it would take the newest of that, without a hash.
    set -- --requirement "requirements/$want.txt"
    has_uv || set -- "$@" --constraint "requirements/$want.txt"
    install --require-hashes "$@"
    # What it is built with is in the lock as well.
    install --no-deps --no-build-isolation --editable .
fi
echo "$here" >"$venv/.$want"
