"""Fitting and measuring borrower-risk models; imported by the commands only, never by the service."""
