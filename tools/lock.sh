#!/bin/sh
# Make requirements/*.txt anew from pyproject.toml: exact versions with the hashes of all their
# files, and no address of an index. Needs the package index; run by `make lock`.
set -eu
cd "$(dirname "$0")/.."
python=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet pip-tools

lock() {
    output=$1
    shift
    {
        echo "# Made by \`make lock\`; do not edit."
        "$work/venv/bin/pip-compile" --quiet --generate-hashes --strip-extras --allow-unsafe \
            --no-emit-options --no-header --annotation-style line --upgrade --output-file - "$@"
    } > "$work/new"
    mv "$work/new" "requirements/$output"
}

lock runtime.txt pyproject.toml
lock build.txt requirements/build.in
lock dev.txt --extra dev --constraint requirements/runtime.txt pyproject.toml
