"""Processes that live when we come: what debugger and `usercrash run` do with them."""
