"""Contamination: which test examples a corpus contains, and what scores are worth without them."""
