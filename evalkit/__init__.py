"""evalkit: few-shot evaluation of language models, and how much of a score is contamination."""
