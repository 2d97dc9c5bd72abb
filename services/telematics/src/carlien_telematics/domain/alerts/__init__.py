"""Alerts: state machines over a car's records in device time, and the fusion of what they find into one case per incident.

`watch.Watch` is all of them for one car. Everything here is plain data and pure functions, so the same code judges records as
they arrive, replays a car from a checkpoint when records come late, and is measured offline on simulated months.
"""
