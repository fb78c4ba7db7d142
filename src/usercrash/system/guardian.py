"""The process that puts sysctls back when the one that changed them is gone.

Run as a script by an isolated interpreter (`core_pattern.py` starts it):

    guardian.py LOCK_FD PIDFD PATH=VALUE ...

It says `ready` on its standard output, then waits until its standard input
ends or the process behind PIDFD dies, writes every VALUE to its PATH, and
releases the lock. Signals that a terminal or a service manager sends to a whole
group do not reach it. Exit status 0 when every value was written.
"""

import fcntl
import os
import select
import signal
import sys


def main(arguments: list[str]) -> int:
    """Wait, restore, release: see the module's words."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    lock, pidfd = int(arguments[0]), int(arguments[1])
    settings = [argument.partition("=")[::2] for argument in arguments[2:]]
    os.write(1, b"ready\n")
    # The pipe alone is not enough: children that the holder forked keep its other end open.
    waiting = select.poll()
    waiting.register(0, select.POLLIN | select.POLLHUP)
    waiting.register(pidfd, select.POLLIN)
    waiting.poll()
    status = 0
    for path, value in settings:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(descriptor, os.fsencode(value) + b"\n")
            finally:
                os.close(descriptor)
        except OSError:
            status = 1
    fcntl.flock(lock, fcntl.LOCK_UN)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
