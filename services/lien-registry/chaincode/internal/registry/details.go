package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
)

const (
	storeDetailsFunction      = "StoreDetails"
	batchStoreDetailsFunction = "BatchStoreDetails"
	detailsField              = "details"
	longestDetails            = 16 << 10
)

// checkTransient refuses transient data anywhere but where it belongs. An endorser executes on what it is sent: transient
// data in a public proposal would reach the other organisations' peers, and a client that sends it must learn so at once.
func checkTransient(stub shim.ChaincodeStubInterface) error {
	transient, err := stub.GetTransient()
	if err != nil {
		return ledgerFailed("read the transient data")
	}
	function, _ := stub.GetFunctionAndParameters()
	if len(transient) > 0 && function != storeDetailsFunction && function != batchStoreDetailsFunction {
		return invalid("transient", "TRANSIENT_FORBIDDEN", "Only StoreDetails and BatchStoreDetails take transient data, sent to own peers alone.")
	}
	return nil
}

type numberArguments struct {
	RegistrationNumber string `json:"registration_number"`
}

// DetailsStored names what was stored or purged, without any of it.
type DetailsStored struct {
	RegistrationNumber string `json:"registration_number"`
	DetailsHash        string `json:"details_hash"`
}

// DetailsBatchStored names what a batch stored.
type DetailsBatchStored struct {
	Stored []*DetailsStored `json:"stored"`
}

func storeDetails(c *call, asked numberArguments) (*DetailsStored, error) {
	transient, err := c.transientDetails(1)
	if err != nil {
		return nil, err
	}
	return c.store("registration_number", asked.RegistrationNumber, transient[detailsField])
}

type numbersArguments struct {
	RegistrationNumbers []string `json:"registration_numbers"`
}

// batchStoreDetails stores the details of several registrations, all or none: whoever is refused sends them one by one.
func batchStoreDetails(c *call, asked numbersArguments) (*DetailsBatchStored, error) {
	numbers := asked.RegistrationNumbers
	if len(numbers) < 1 || len(numbers) > largestBatch {
		return nil, invalid("registration_numbers", "BATCH_SIZE", "A batch has 1 to %d items.", largestBatch)
	}
	transient, err := c.transientDetails(len(numbers))
	if err != nil {
		return nil, err
	}
	answer, seen := &DetailsBatchStored{}, map[string]bool{}
	for item, number := range numbers {
		field := fmt.Sprintf("registration_numbers[%d]", item)
		if seen[number] {
			return nil, invalid(field, "NUMBER_REPEATED", "A registration stands once in a batch.")
		}
		seen[number] = true
		stored, err := c.store(field, number, transient[number])
		if err != nil {
			return nil, err
		}
		answer.Stored = append(answer.Stored, stored)
	}
	return answer, nil
}

// store puts private details into the collection of the secured party's organisation, if they are those whose hash the
// registration carries. It writes nothing else, so its own organisation's endorsement is enough.
func (c *call) store(field, number string, details []byte) (*DetailsStored, error) {
	if err := checkDetails(details); err != nil {
		return nil, err
	}
	lien, err := c.lien(field, number)
	if err != nil {
		return nil, err
	}
	if err := c.requireSecuredParty(lien); err != nil {
		return nil, err
	}
	digest := sha256.Sum256(details)
	if hex.EncodeToString(digest[:]) != lien.DetailsHash {
		return nil, precondition("DETAILS_MISMATCH", "The details aren't those the registration was made with.")
	}
	key, err := c.key(detailsKey, lien.RegistrationNumber)
	if err != nil {
		return nil, err
	}
	if err := c.stub.PutPrivateData(orgCollections+c.mspID, key, details); err != nil {
		return nil, ledgerFailed("write the private state")
	}
	return &DetailsStored{lien.RegistrationNumber, lien.DetailsHash}, nil
}

// transientDetails returns the transient data, which has so many fields.
func (c *call) transientDetails(fields int) (map[string][]byte, error) {
	transient, err := c.stub.GetTransient()
	if err != nil {
		return nil, ledgerFailed("read the transient data")
	}
	if len(transient) != fields {
		return nil, errDetailsMissing
	}
	return transient, nil
}

func checkDetails(details []byte) error {
	if len(details) == 0 {
		return errDetailsMissing
	}
	var document map[string]json.RawMessage
	if len(details) > longestDetails || json.Unmarshal(details, &document) != nil {
		return invalid("transient", "DETAILS_FORM", "Details are a JSON object of at most %d bytes.", longestDetails)
	}
	return nil
}

var errDetailsMissing = invalid("transient", "DETAILS_MISSING",
	"The transient data has the one field details, in a batch one field per registration number.")

// Details is what an organisation stored of its own lien.
type Details struct {
	RegistrationNumber string `json:"registration_number"`
	Details            string `json:"details"`
}

func getDetails(c *call, asked numberArguments) (*Details, error) {
	key, err := c.ownDetails(asked.RegistrationNumber)
	if err != nil {
		return nil, err
	}
	details, err := c.stub.GetPrivateData(orgCollections+c.mspID, key)
	if err != nil {
		return nil, ledgerFailed("read the private state")
	}
	if details == nil {
		return nil, errDetailsUnknown
	}
	return &Details{asked.RegistrationNumber, string(details)}, nil
}

var errDetailsUnknown = notFound("DETAILS_UNKNOWN", "Your organisation holds no details of this registration.")

func (c *call) ownDetails(number string) (string, error) {
	if err := checkNumber("registration_number", lienNumber, number); err != nil {
		return "", err
	}
	return c.key(detailsKey, number)
}

// purgeDetails removes an organisation's own copy, also from its peers' history: the right to erasure, for what is private.
func purgeDetails(c *call, asked numberArguments) (*DetailsStored, error) {
	key, err := c.ownDetails(asked.RegistrationNumber)
	if err != nil {
		return nil, err
	}
	hash, err := c.stub.GetPrivateDataHash(orgCollections+c.mspID, key)
	if err != nil {
		return nil, ledgerFailed("read the private state")
	}
	if hash == nil {
		return nil, errDetailsUnknown
	}
	if err := c.stub.PurgePrivateData(orgCollections+c.mspID, key); err != nil {
		return nil, ledgerFailed("write the private state")
	}
	return &DetailsStored{asked.RegistrationNumber, hex.EncodeToString(hash)}, nil
}
