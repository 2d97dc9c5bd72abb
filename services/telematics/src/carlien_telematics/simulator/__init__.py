"""A fleet of simulated cars with a known truth: for load, for the demo where no real data are, and to validate detectors.

Believable, not real: streets are a grid, days follow patterns per kind of life, speed follows limits and junctions. Noise is
never below what `motion.NOISE` states. What a detector scores here says nothing about losses.
"""
