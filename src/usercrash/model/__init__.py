"""Plain data, standard library only: what a crash is, before and after it is analysed.

The cold client imports these modules while the crashed process is held, so they
are plain classes with `__slots__` and import next to nothing.
"""
