"""TCP servers that devices speak to."""
