"""Who holds which lien on a car: registry on a Hyperledger Fabric consortium ledger."""
