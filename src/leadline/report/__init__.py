"""Runs of `leadline eval` as one file: HTML to look at, Markdown, LaTeX or CSV to go on with."""

from leadline.report.render import BESIDE, FORMATS, write
from leadline.report.spread import Request

__all__ = ["BESIDE", "FORMATS", "Request", "write"]
