"""Kernels of the decoder for the CPU, written in LLVM's terms and compiled for the machine that they run on."""
