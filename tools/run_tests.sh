#!/bin/sh
# sh tools/run_tests.sh PYTHON [ARGUMENTS OF PYTEST]
# First the tests that may run beside others, two at a time (some wait for their turn with
# core_pattern); then those that need the machine for themselves. Neither kind may be empty (with
# arguments, which may choose a file: not both), and no test may leave a file in the checkout.
set -u
python=$1
shift
arguments=$#
empty=

fail() {
    echo "usercrash: $1" >&2
    exit 1
}

new_files() { git ls-files --others --exclude-standard 2>/dev/null; }

# run WHAT_THEY_ARE ARGUMENTS...
run() {
    what=$1
    shift
    "$python" -m pytest "$@"
    status=$?
    case $status in
        0) ;;
        5) # pytest found none
            [ "$arguments" != 0 ] || fail "no test was found of those $what"
            [ -z "$empty" ] || fail "no test was found that fits the arguments"
            empty=yes ;;
        *) exit $status ;;
    esac
}

before=$(new_files)
run "that may run beside others" -n 2 --dist loadgroup -m "not machine" "$@"
run "that need the machine for themselves" -m machine "$@"
left=$(new_files | grep -vxF "$before")
[ -z "$left" ] || fail "new in the checkout, left by a test if not made by you meanwhile: $left"
