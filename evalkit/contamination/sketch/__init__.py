"""Sketches of texts: MinHash, and a sketch of a corpus that future test sets are looked up in."""
