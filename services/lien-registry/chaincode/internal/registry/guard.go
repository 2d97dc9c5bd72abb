package registry

import (
	"regexp"
	"unicode/utf8"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-contract-api-go/v2/contractapi"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
)

const (
	metadataFunction = contractapi.SystemContractName + ":GetMetadata"
	maxArgument      = 256 << 10
)

var functionName = regexp.MustCompile(`^[A-Z][A-Za-z]{1,39}$`)

// guard stands before the contract. Bytes that aren't UTF-8 would panic the whole process when they reach the peer in a
// protobuf string (as a key, or echoed in an error), so they are refused here, before anything else looks at them.
type guard struct{ contract shim.Chaincode }

// NewChaincode returns the chaincode, guarded.
func NewChaincode(clock Clock) (shim.Chaincode, error) {
	registry := &Registry{clock: clock}
	registry.Name = "mortgage-asset"
	registry.Info.Title = "Registry of titles and liens on cars"
	registry.Info.Version = "1"
	contract, err := contractapi.NewChaincode(registry)
	if err != nil {
		return nil, err
	}
	return &guard{contract}, nil
}

// Init does nothing: the registry starts empty.
func (g *guard) Init(shim.ChaincodeStubInterface) *peer.Response { return shim.Success(nil) }

// Invoke checks the raw arguments, runs the contract and turns a panic into a refusal: one bad call must not stop the
// process that serves everybody.
func (g *guard) Invoke(stub shim.ChaincodeStubInterface) (response *peer.Response) {
	if err := checkArguments(stub.GetArgs()); err != nil {
		return shim.Error(err.Error())
	}
	defer func() {
		if recover() != nil {
			failed := &Refusal{Kind: Unavailable, Reason: "CHAINCODE_FAILED", Message: "The chaincode failed on this call."}
			response = shim.Error(failed.Error())
		}
	}()
	return g.contract.Invoke(stub)
}

func checkArguments(arguments [][]byte) error {
	for _, argument := range arguments {
		if len(argument) > maxArgument {
			return invalid("argument", "ARGUMENT_TOO_LONG", "An argument has at most %d bytes.", maxArgument)
		}
		if !utf8.Valid(argument) {
			return invalid("argument", "ARGUMENT_NOT_UTF8", "An argument is UTF-8.")
		}
	}
	if len(arguments) == 1 && string(arguments[0]) == metadataFunction {
		return nil
	}
	if len(arguments) != 2 {
		return invalid("argument", "ARGUMENT_COUNT", "A call is a function and one JSON object.")
	}
	if !functionName.Match(arguments[0]) {
		return errUnknownFunction
	}
	return nil
}

var errUnknownFunction = invalid("function", "FUNCTION_UNKNOWN", "There is no such function.")
