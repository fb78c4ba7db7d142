"""Views of a Report: a Report in, text out, nothing added."""
