"""Measurements of the running stack, each beside a reference taken in the same run: `make bench [B=area]`.

One module per area with `async def run(loan: Session) -> list[Figure]`; `run.py` picks, prints and writes `.local/bench.json`.
"""
