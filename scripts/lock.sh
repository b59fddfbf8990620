#!/bin/sh
# Writes requirements/: what every environment consists of, to the byte, for Python 3.11 and newer.
#
#     scripts/lock.sh              keeps what is locked as far as pyproject.toml allows it
#     scripts/lock.sh --upgrade    takes the newest of everything that the index has today
#
# scripts/venv.sh installs from these files, with uv or with pip.
set -eu

CDPATH='' cd -- "$(dirname -- "$0")/.."

if ! command -v uv >/dev/null 2>&1; then
    echo "make lock needs uv, which resolves for every Python and platform at once, and found none on PATH: install it (pip install uv, or pipx install uv), then try again. Only the lock needs it; all else works with pip." >&2
    exit 1
fi

# Nothing of this machine stands in the files: neither where its index is, nor where the checkout is.
lock() {
    echo "requirements/$1.txt"
    file=$1
    shift
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
        --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
        --output-file "requirements/$file.txt" --group build "$@" pyproject.toml >/dev/null
}

mkdir -p requirements
lock dev --extra dev "$@"
# A peer of the benchmark may want something older than what the tests have; a test sees to it that
# what we stand on ourselves is the same.
lock bench --extra bench "$@"
# The others take the same versions: what is shown is what was tested.
lock core --constraint requirements/dev.txt "$@"
lock demo --constraint requirements/dev.txt --extra demo "$@"
lock upstream --constraint requirements/dev.txt --extra upstream "$@"
lock docs --constraint requirements/dev.txt --extra docs "$@"
lock failover --constraint requirements/dev.txt --extra failover "$@"
lock release --constraint requirements/dev.txt --extra release "$@"

floors=$(mktemp)
trap 'rm -f "$floors"' EXIT
uv run --quiet --no-project --python '>=3.11' --with packaging scripts/floors.py dev >"$floors"
lock oldest --constraint "$floors" --extra dev "$@"
