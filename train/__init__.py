"""Zoos: networks that differ in their seed alone, trained and loaded."""
