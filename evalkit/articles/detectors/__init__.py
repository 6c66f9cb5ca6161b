"""Who wrote an article, told by programs: scores of its tokens, two models, and a classifier that learns."""
