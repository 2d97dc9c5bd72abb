"""What tests need from every part: a pytest plugin, a development CA, a hostile caller. Not for services."""
