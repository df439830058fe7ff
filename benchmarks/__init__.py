"""Ratios against other implementations, and the whole of the paper's comparison."""
