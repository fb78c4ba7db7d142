"""A report as one page of HTML that needs nothing else: no network, no script.

Importing this imports Jinja2: do it where a page is wanted.
"""

from .page import preload, render_html

__all__ = ["preload", "render_html"]
