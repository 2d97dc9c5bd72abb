"""Wire types in, wire types out."""
