"""What a car is worth: appraisal, residual value, market index."""
