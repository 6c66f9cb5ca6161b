"""Models behind one interface: answers to requests, whatever computes them."""
