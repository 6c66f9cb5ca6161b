"""Article detection: write news articles with models, ask people and detectors who wrote them, analyse the answers."""
