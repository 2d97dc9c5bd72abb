"""From listings to a model directory: encodings, learners, stacking, calibration, scores."""
