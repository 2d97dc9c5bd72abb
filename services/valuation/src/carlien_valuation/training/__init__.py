"""From listings to a model: splits, encodings, learners, stacking, calibration, scores."""
