"""Price series over calendar time: panels, what they forecast, and how forecasts are scored."""
