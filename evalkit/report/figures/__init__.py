"""Figures for papers and pages, drawn with matplotlib: each from records to one `Figure`, with every point it draws."""
