"""CPython as it lies in memory: interpreters, threads, frames, code, from 3.8 on.

Everything is read through a callback `read(address, size) -> bytes`, which gives what is
readable up to the first gap. The same walk is made twice: by capture while the process is held,
so that all that it touches is kept, and by the analysis on the core. Standard library only, and
nothing is imported that a cold client has not. Memory is not trusted: each pointer is checked
before it counts, and everything is bounded; nothing here raises for what it holds.
"""
