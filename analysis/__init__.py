"""Experiments on a trained zoo, and one report of them all."""
