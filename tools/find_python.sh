#!/bin/sh
# Print the interpreter to use: Python 3.11 or later, the system's own before others.
# (One in a home directory may be out of reach for the account that analyses crashes.)
set -u
for candidate in ${PYTHON:-} /usr/bin/python3 python3.13 python3.12 python3.11 python3; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        command -v "$candidate"
        exit 0
    fi
done
echo "usercrash: no Python 3.11 or later found: install python3, or name one with PYTHON=/path" >&2
exit 1
