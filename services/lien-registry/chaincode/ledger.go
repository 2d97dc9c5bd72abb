package main

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hyperledger/fabric-contract-api-go/v2/contractapi"
)

type ctx = contractapi.TransactionContextInterface

const (
	keyLien   = "LIEN"
	keyNumber = "NUMBER"
	keyTitle  = "TITLE"
	keySlot   = "SLOT"
	eventName = "carlien.lien.v1"
)

// maxClockSkew bounds how far a client may put its transaction's time from the endorser's own clock (design, "Order").
const maxClockSkew = 30 * time.Second

func key(c ctx, kind string, parts ...string) (string, error) {
	return c.GetStub().CreateCompositeKey(kind, parts)
}

// read returns whether the key holds something, and puts it into the value.
func read(c ctx, into any, kind string, parts ...string) (bool, error) {
	name, err := key(c, kind, parts...)
	if err != nil {
		return false, err
	}
	raw, err := c.GetStub().GetState(name)
	if err != nil || raw == nil {
		return false, err
	}
	return true, json.Unmarshal(raw, into)
}

func write(c ctx, value any, kind string, parts ...string) error {
	name, err := key(c, kind, parts...)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return c.GetStub().PutState(name, raw)
}

func remove(c ctx, kind string, parts ...string) error {
	name, err := key(c, kind, parts...)
	if err != nil {
		return err
	}
	return c.GetStub().DelState(name)
}

// transactionTime is the time the client put into the transaction, refused where it is far from this endorser's clock.
// The check alone depends on the clock: endorsers that accept write the same time.
func transactionTime(c ctx) (time.Time, error) {
	stamp, err := c.GetStub().GetTxTimestamp()
	if err != nil {
		return time.Time{}, err
	}
	at := stamp.AsTime()
	if skew := time.Since(at).Abs(); skew > maxClockSkew {
		return time.Time{}, precondition("CLOCK_SKEW", fmt.Sprintf("the transaction's time is %s away from this endorser's", skew.Round(time.Second)), nil)
	}
	return at, nil
}

func rfc3339(at time.Time) string { return at.UTC().Truncate(time.Second).Format(time.RFC3339) }

// registrationNumber is derived from the transaction, so that no counter makes registrations of different cars collide.
func registrationNumber(txID string, index int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d", txID, index))
	return "L" + base32.StdEncoding.EncodeToString(sum[:10])
}

// emit sets the transaction's one event: the list of its changes, in order.
func emit(c ctx, changes ...Change) error {
	raw, err := json.Marshal(changes)
	if err != nil {
		return err
	}
	return c.GetStub().SetEvent(eventName, raw)
}

func answer(value any) (string, error) {
	raw, err := json.Marshal(value)
	return string(raw), err
}
