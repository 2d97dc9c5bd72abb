"""One module per subcommand of `carlien-valuation`."""
