#!/bin/sh
# make_venv.sh PYTHON DIR LOCK...: a fresh virtual environment in DIR with exactly what the LOCK
# files name, and the project itself, used from src/.
set -eu
python=$1
directory=$2
shift 2

usable() { "$python" -c 'import venv, ensurepip' 2>/dev/null; }

if ! usable; then
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing $package" >&2
        "$(dirname "$0")/apt_install.sh" "$package" ||
            "$(dirname "$0")/apt_install.sh" python3-venv
    fi
    if ! usable; then
        echo "usercrash: $python has no venv module: install the package $package" >&2
        exit 1
    fi
fi

rm -rf "$directory"
echo "making $directory with $("$python" --version)" >&2
"$python" -m venv "$directory"
pip() { "$directory/bin/python" -m pip --disable-pip-version-check -qq "$@" </dev/null; }
for lock in "$@"; do
    pip install --require-hashes --prefer-binary --requirement "$lock"
done
pip install --no-deps --no-build-isolation --editable .
