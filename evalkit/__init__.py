"""evalkit: few-shot evaluation of decoder language models."""
