"""Renderers: one table as Markdown, CSV, LaTeX, HTML and text."""
