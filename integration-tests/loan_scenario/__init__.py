"""One small-business car loan, from the VIN search to the discharged lien, over the services' own ports.

`steps.py` is the scenario, `story.py` tells it to a person; `test_loan_end_to_end.py` asserts it.
"""
