"""Published JSON schemas of the files a user writes."""
