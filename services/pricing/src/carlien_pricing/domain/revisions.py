"""What the pricing engine has learned from version to version, so that a stored quote is computed as it was then.

A field that is new in the inputs or the policies needs nothing here: its default means "as before". What changes the answer to the
same inputs does.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Revision:
    """An engine version that a stored quote may name."""

    version: str
    shows_pd_curve: bool
    """The answer has the lifetime PD curve."""
    steps_from_the_best: bool
    """Where an axis of the matrix has no better step, the step worse is shown."""
    offers_longer_terms: bool
    """Counteroffers reach beyond the term asked for."""


REVISIONS = {
    "1": Revision("1", shows_pd_curve=False, steps_from_the_best=False, offers_longer_terms=False),
    "2": Revision("2", shows_pd_curve=True, steps_from_the_best=True, offers_longer_terms=True),
}
CURRENT = REVISIONS["2"]
