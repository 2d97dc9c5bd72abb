"""Model risk as a batch: sales judged, the report written, intervals recalibrated, models promoted and rolled back."""
