"""usercrash: collects and explains the crashes of userspace processes on Linux."""

__version__ = "0.1.0"
