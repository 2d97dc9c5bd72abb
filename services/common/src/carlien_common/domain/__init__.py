"""Types every domain shares: errors, VIN, money, clock, ids. Imports only the standard library."""
