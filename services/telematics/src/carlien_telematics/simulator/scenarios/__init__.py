"""Scenario files that the product ships."""
