"""Ageing of traction batteries: state of health ahead, with an interval."""
