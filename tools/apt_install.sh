#!/bin/sh
# apt_install.sh PACKAGE...: install Debian packages without a question and without starting
# the services that come with them.
set -eu
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
install() { apt-get install -y -q --no-install-recommends "$@" </dev/null >"$log" 2>&1; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The package lists may be missing or old: only then is an update worth its time.
if ! install "$@"; then
    apt-get update -q </dev/null >"$log" 2>&1 || true
    if ! install "$@"; then
        tail -n 5 "$log" >&2
        exit 1
    fi
fi
