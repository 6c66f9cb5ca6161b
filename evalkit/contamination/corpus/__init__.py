"""How a corpus is cut into shards, and how their documents are read."""
