// The chaincode mortgage-asset, run as a service: CHAINCODE_ID and CHAINCODE_SERVER_ADDRESS say as what and where.
package main

import (
	"log"
	"os"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-contract-api-go/v2/contractapi"
)

// MortgageAsset is the contract: titles, liens and who holds first rank.
type MortgageAsset struct {
	contractapi.Contract
}

func main() {
	chaincode, err := contractapi.NewChaincode(&MortgageAsset{})
	if err != nil {
		log.Fatal(err)
	}
	server := &shim.ChaincodeServer{
		CCID:     os.Getenv("CHAINCODE_ID"),
		Address:  os.Getenv("CHAINCODE_SERVER_ADDRESS"),
		CC:       guarded{chaincode},
		TLSProps: shim.TLSProperties{Disabled: true},
	}
	if err := server.Start(); err != nil {
		log.Fatal(err)
	}
}
