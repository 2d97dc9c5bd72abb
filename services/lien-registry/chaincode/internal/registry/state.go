package registry

import (
	"encoding/json"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
)

// The kinds of keys. Each is composite, <kind>~<attributes>; none but POLICY and ANCHOR spans two cars.
const (
	titleKey       = "TITLE"       // vin
	lienKey        = "LIEN"        // vin, registration number
	numberKey      = "NUMBER"      // registration, dispute number: the VIN it stands under
	debtorKey      = "DEBTOR"      // keyed hash, registration number: the VIN
	slotKey        = "SLOT"        // vin
	consentKey     = "CONSENT"     // vin, proposal hash, msp
	disputeKey     = "DISPUTE"     // vin, dispute number
	courtOrderKey  = "COURT_ORDER" // vin, court order number
	policyKey      = "POLICY"      // effective from
	anchorKey      = "ANCHOR"      // block number, msp
	detailsKey     = "DETAILS"     // registration number, in the organisation's collection
	orgCollections = "_implicit_org_"
)

func (c *call) key(kind string, attributes ...string) (string, error) {
	key, err := c.stub.CreateCompositeKey(kind, attributes)
	if err != nil {
		return "", ledgerFailed("form a key")
	}
	return key, nil
}

// get reads a record into a pointer and tells whether there is one.
func (c *call) get(into any, kind string, attributes ...string) (bool, error) {
	key, err := c.key(kind, attributes...)
	if err != nil {
		return false, err
	}
	value, err := c.stub.GetState(key)
	if err != nil {
		return false, ledgerFailed("read the state")
	}
	if value == nil {
		return false, nil
	}
	return true, read(value, into)
}

func (c *call) put(record any, kind string, attributes ...string) error {
	key, err := c.key(kind, attributes...)
	if err != nil {
		return err
	}
	value, err := json.Marshal(record)
	if err != nil {
		return ledgerFailed("write a record")
	}
	if err := c.stub.PutState(key, value); err != nil {
		return ledgerFailed("write the state")
	}
	return nil
}

// scan reads every record under a partial key, in key order. In a write the peers check again at commit that the range
// still reads the same, so what is decided here also holds against records that slip in meanwhile (phantom reads).
func scan[R any](c *call, kind string, attributes ...string) ([]R, error) {
	records, err := c.stub.GetStateByPartialCompositeKey(kind, attributes)
	if err != nil {
		return nil, ledgerFailed("read the state")
	}
	return collect[R](records)
}

// page reads some records under a partial key and the bookmark of the next, for reads only: a page isn't checked again at commit.
func page[R any](c *call, asked Page, kind string, attributes ...string) ([]R, string, error) {
	size, err := asked.size()
	if err != nil {
		return nil, "", err
	}
	prefix, err := c.key(kind, attributes...)
	if err != nil {
		return nil, "", err
	}
	from, err := asked.key(prefix)
	if err != nil {
		return nil, "", err
	}
	records, metadata, err := c.stub.GetStateByPartialCompositeKeyWithPagination(kind, attributes, size, from)
	if err != nil {
		return nil, "", ledgerFailed("read the state")
	}
	found, err := collect[R](records)
	return found, bookmark(metadata.GetBookmark()), err
}

func collect[R any](records shim.StateQueryIteratorInterface) ([]R, error) {
	found := []R{}
	for records.HasNext() {
		entry, err := records.Next()
		if err != nil {
			return nil, first(ledgerFailed("read the state"), records.Close())
		}
		var record R
		if err := read(entry.GetValue(), &record); err != nil {
			return nil, first(err, records.Close())
		}
		found = append(found, record)
	}
	if err := records.Close(); err != nil {
		return nil, ledgerFailed("read the state")
	}
	return found, nil
}

func read(value []byte, into any) error {
	if err := json.Unmarshal(value, into); err != nil {
		return ledgerFailed("read a record")
	}
	return nil
}

// version is one past value of a key.
type version[R any] struct {
	record R
	txID   string
	at     string
}

// history returns a key's values, oldest first.
func history[R any](c *call, kind string, attributes ...string) ([]version[R], error) {
	key, err := c.key(kind, attributes...)
	if err != nil {
		return nil, err
	}
	values, err := c.stub.GetHistoryForKey(key)
	if err != nil {
		return nil, ledgerFailed("read the history")
	}
	versions := []version[R]{}
	for values.HasNext() {
		value, err := values.Next()
		if err != nil {
			return nil, first(ledgerFailed("read the history"), values.Close())
		}
		entry := version[R]{txID: value.GetTxId(), at: instant(value.GetTimestamp().AsTime())}
		if err := read(value.GetValue(), &entry.record); err != nil {
			return nil, first(err, values.Close())
		}
		versions = append(versions, entry)
	}
	if err := values.Close(); err != nil {
		return nil, ledgerFailed("read the history")
	}
	// The peer answers newest first.
	for left, right := 0, len(versions)-1; left < right; left, right = left+1, right-1 {
		versions[left], versions[right] = versions[right], versions[left]
	}
	return versions, nil
}
