"""One module per subcommand of `carlien-pricing`."""
