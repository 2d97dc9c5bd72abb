"""Dated tables of policy, each with its source."""
