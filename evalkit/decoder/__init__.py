"""evalkit's transformer decoder: its shape, its weights, what it generates and how it is trained."""
