"""The parts of benchmarks/engine.py, which is run; evalkit need not be installed."""
