"""What a loan on a car costs: quote, rate caps, risk matrix, collateral watch."""
