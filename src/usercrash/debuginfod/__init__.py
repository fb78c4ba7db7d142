"""Debug files and programs from debuginfod servers: only from those that are configured.

The analysis has no part in it: it says which build-ids it missed, and finds what came in a
directory. What speaks to servers is a child of its own, without privileges and crash data.
"""
