"""What the answers of a study say: accuracy, tests against the control, what articles add, agreement, power."""
