package registry

import (
	"encoding/json"

	"github.com/hyperledger/fabric-chaincode-go/v2/pkg/cid"
	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-contract-api-go/v2/contractapi"
)

// call is one invocation: who calls, when, on what state, and what it has changed so far.
type call struct {
	stub     shim.ChaincodeStubInterface
	identity *cid.ClientID
	mspID    string
	// at is the transaction's timestamp: the client chose it, within 30 seconds of each endorser's clock.
	at      string
	txID    string
	changes []Change
	// registered and claimed hold, by VIN, what this transaction has registered so far, and with first rank: a read doesn't
	// see the transaction's own writes.
	registered map[string]string
	claimed    map[string]string
}

// submit runs a write: its result is the answer, its changes become the transaction's one event.
func submit[A, R any](registry *Registry, ctx contractapi.TransactionContextInterface, argument string, run func(*call, A) (R, error)) (string, error) {
	return execute(registry, ctx, argument, true, run)
}

// evaluate runs a read. It says nothing of the clock: a read takes no place in the ledger's order.
func evaluate[A, R any](registry *Registry, ctx contractapi.TransactionContextInterface, argument string, run func(*call, A) (R, error)) (string, error) {
	return execute(registry, ctx, argument, false, run)
}

func execute[A, R any](registry *Registry, ctx contractapi.TransactionContextInterface, argument string, writes bool, run func(*call, A) (R, error)) (string, error) {
	var arguments A
	if err := first(checkTransient(ctx.GetStub()), decode([]byte(argument), &arguments)); err != nil {
		return "", err
	}
	c, err := newCall(registry, ctx.GetStub(), writes)
	if err != nil {
		return "", err
	}
	result, err := run(c, arguments)
	if err != nil {
		return "", err
	}
	if err := c.emit(); err != nil {
		return "", err
	}
	answer, err := json.Marshal(result)
	if err != nil {
		return "", ledgerFailed("write the answer")
	}
	return string(answer), nil
}

func newCall(registry *Registry, stub shim.ChaincodeStubInterface, writes bool) (*call, error) {
	stamp, err := stub.GetTxTimestamp()
	if err != nil || stamp.CheckValid() != nil {
		return nil, ledgerFailed("tell the transaction's timestamp")
	}
	if writes {
		if err := checkSkew(registry.clock, stamp.AsTime()); err != nil {
			return nil, err
		}
	}
	identity, err := cid.New(stub)
	if err != nil {
		return nil, denied("IDENTITY_UNREADABLE", "The caller's certificate can't be read.")
	}
	mspID, err := identity.GetMSPID()
	if err != nil || mspID == "" {
		return nil, denied("IDENTITY_UNREADABLE", "The caller's organisation can't be read.")
	}
	return &call{
		stub:       stub,
		identity:   identity,
		mspID:      mspID,
		at:         instant(stamp.AsTime()),
		txID:       stub.GetTxID(),
		registered: map[string]string{},
		claimed:    map[string]string{},
	}, nil
}

// today is the day of the transaction, in UTC.
func (c *call) today() string { return c.at[:len("2006-01-02")] }
