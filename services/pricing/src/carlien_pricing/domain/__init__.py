"""What a car loan costs and whether the law and the lender's policy allow it. Pure: no I/O, no clock."""
