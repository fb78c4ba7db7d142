"""CRuby as it lies in memory: the calls of each of its threads.

Read through a callback as cpython/ is, by capture and by the analysis. Standard library only,
and nothing is imported that a cold client has not. Memory is not trusted.
"""
