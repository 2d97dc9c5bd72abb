package main

import (
	"unicode/utf8"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
)

// guarded refuses arguments that are not UTF-8 before anything else sees them: quoted in an answer they would end the process.
type guarded struct{ shim.Chaincode }

func (g guarded) Invoke(stub shim.ChaincodeStubInterface) *peer.Response {
	for _, argument := range stub.GetArgs() {
		if len(argument) > maxArgument || !utf8.Valid(argument) {
			return shim.Error(invalid("", "ARGUMENT_NOT_UTF8", "arguments are UTF-8 of at most 256 KiB").Error())
		}
	}
	return g.Chaincode.Invoke(stub)
}
