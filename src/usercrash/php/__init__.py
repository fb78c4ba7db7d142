"""PHP as it lies in memory: the calls of an interpreter without threads of its own.

Read through a callback as cpython/ is, by capture and by the analysis. Standard library only,
and nothing is imported that a cold client has not. Memory is not trusted.
"""
