"""Task files of lm-evaluation-harness (lm_eval 0.4), run as they stand and without importing it."""
