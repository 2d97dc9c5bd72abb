"""Monthly series: panels, indices, residual curves, batteries."""
