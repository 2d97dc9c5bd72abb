package registry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/queryresult"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// fakeLedger is a channel in memory. Like a peer it runs a proposal against committed state, records what was read, and at
// commit refuses a transaction whose reads, of keys or of ranges, are no longer what it read.
type fakeLedger struct {
	t         testing.TB
	chaincode shim.Chaincode
	now       time.Time
	height    int
	proposals int
	state     map[string]stored
	history   map[string][]*queryresult.KeyModification
	private   map[string][]byte
	events    []event
}

type stored struct {
	value  []byte
	height int
}

// endorsed is a transaction on its way to be ordered.
type endorsed struct {
	stub     *fakeStub
	response *peer.Response
}

var genesis = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

func newLedger(t testing.TB) *fakeLedger {
	ledger := &fakeLedger{
		t: t, now: genesis, state: map[string]stored{}, private: map[string][]byte{},
		history: map[string][]*queryresult.KeyModification{},
	}
	chaincode, err := NewChaincode(func() time.Time { return ledger.now })
	if err != nil {
		t.Fatal(err)
	}
	ledger.chaincode = chaincode
	return ledger
}

// identity is a client's serialized MSP identity.
type identity []byte

var (
	org1      = newIdentity("Org1MSP", "")
	org2      = newIdentity("Org2MSP", "")
	org3      = newIdentity("Org3MSP", "")
	registrar = newIdentity("Org1MSP", `{"attrs":{"carlien.role":"registrar"}}`)
)

func newIdentity(mspID, attributes string) identity {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"}, NotAfter: genesis.AddDate(10, 0, 0)}
	if attributes != "" {
		oid := asn1.ObjectIdentifier{1, 2, 3, 4, 5, 6, 7, 8, 1}
		template.ExtraExtensions = []pkix.Extension{{Id: oid, Value: []byte(attributes)}}
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	serialized, err := proto.Marshal(&msp.SerializedIdentity{
		Mspid:   mspID,
		IdBytes: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
	})
	if err != nil {
		panic(err)
	}
	return serialized
}

// propose runs a call without committing it.
func (l *fakeLedger) propose(caller identity, function, argument string, transient map[string][]byte) *endorsed {
	return l.proposeRaw(caller, [][]byte{[]byte(function), []byte(argument)}, transient, l.now)
}

func (l *fakeLedger) proposeRaw(caller identity, arguments [][]byte, transient map[string][]byte, at time.Time) *endorsed {
	l.proposals++
	digest := sha256.Sum256([]byte(strconv.Itoa(l.proposals)))
	stub := &fakeStub{
		ledger: l, caller: caller, arguments: arguments, transient: transient, at: at, txID: hex.EncodeToString(digest[:]),
		reads: map[string]int{}, writes: map[string][]byte{}, privateWrites: map[string][]byte{},
	}
	return &endorsed{stub, l.chaincode.Invoke(stub)}
}

// commit applies a transaction, or tells why not as a peer does.
func (l *fakeLedger) commit(transaction *endorsed) string {
	stub := transaction.stub
	if stub.unchecked {
		l.t.Fatalf("%s writes what it judged by an unchecked read", stub.arguments[0])
	}
	for key, height := range stub.reads {
		if l.state[key].height != height {
			return "MVCC_READ_CONFLICT"
		}
	}
	for _, scanned := range stub.ranges {
		if !slices.Equal(l.versions(scanned.from, scanned.to), scanned.versions) {
			return "PHANTOM_READ_CONFLICT"
		}
	}
	l.height++
	for key, value := range stub.writes {
		l.state[key] = stored{value, l.height}
		l.history[key] = append([]*queryresult.KeyModification{{TxId: stub.txID, Value: value, Timestamp: timestamppb.New(stub.at)}}, l.history[key]...)
	}
	for key, value := range stub.privateWrites {
		if value == nil {
			delete(l.private, key)
		} else {
			l.private[key] = value
		}
	}
	if stub.event != nil {
		var told event
		if err := json.Unmarshal(stub.event, &told); err != nil {
			l.t.Fatal(err)
		}
		l.events = append(l.events, told)
	}
	return "VALID"
}

func (l *fakeLedger) keys(from, to string) []string {
	found := []string{}
	for key := range l.state {
		if key >= from && key < to {
			found = append(found, key)
		}
	}
	slices.Sort(found)
	return found
}

func (l *fakeLedger) versions(from, to string) []string {
	found := []string{}
	for _, key := range l.keys(from, to) {
		found = append(found, key+"@"+strconv.Itoa(l.state[key].height))
	}
	return found
}

// fakeStub is what the chaincode sees of the peer. What it doesn't use isn't there: a call of it panics on the nil interface.
type fakeStub struct {
	shim.ChaincodeStubInterface
	ledger        *fakeLedger
	caller        identity
	arguments     [][]byte
	transient     map[string][]byte
	at            time.Time
	txID          string
	reads         map[string]int
	ranges        []scanned
	writes        map[string][]byte
	privateWrites map[string][]byte
	event         []byte
	// unchecked says that something was read which peers don't check again at commit.
	unchecked bool
}

type scanned struct {
	from, to string
	versions []string
}

func (s *fakeStub) GetArgs() [][]byte { return s.arguments }

func (s *fakeStub) GetFunctionAndParameters() (string, []string) {
	parameters := []string{}
	for _, argument := range s.arguments[1:] {
		parameters = append(parameters, string(argument))
	}
	return string(s.arguments[0]), parameters
}

func (s *fakeStub) GetTxID() string                          { return s.txID }
func (s *fakeStub) GetCreator() ([]byte, error)              { return s.caller, nil }
func (s *fakeStub) GetTransient() (map[string][]byte, error) { return s.transient, nil }
func (s *fakeStub) GetTxTimestamp() (*timestamppb.Timestamp, error) {
	return timestamppb.New(s.at), nil
}

func (s *fakeStub) CreateCompositeKey(kind string, attributes []string) (string, error) {
	return shim.CreateCompositeKey(kind, attributes)
}

func (s *fakeStub) GetState(key string) ([]byte, error) {
	value := s.ledger.state[key]
	s.reads[key] = value.height
	return value.value, nil
}

func (s *fakeStub) PutState(key string, value []byte) error {
	s.writes[key] = value
	return nil
}

func (s *fakeStub) SetEvent(name string, payload []byte) error {
	if name != eventName || s.event != nil {
		s.ledger.t.Fatalf("one event %s per transaction, not %s", eventName, name)
	}
	s.event = payload
	return nil
}

func (s *fakeStub) GetStateByPartialCompositeKey(kind string, attributes []string) (shim.StateQueryIteratorInterface, error) {
	from, err := shim.CreateCompositeKey(kind, attributes)
	if err != nil {
		return nil, err
	}
	to := from + string(rune(0x10FFFF))
	s.ranges = append(s.ranges, scanned{from, to, s.ledger.versions(from, to)})
	return &fakeIterator{ledger: s.ledger, keys: s.ledger.keys(from, to)}, nil
}

func (s *fakeStub) GetStateByPartialCompositeKeyWithPagination(kind string, attributes []string, size int32, from string) (shim.StateQueryIteratorInterface, *peer.QueryResponseMetadata, error) {
	s.unchecked = true
	prefix, err := shim.CreateCompositeKey(kind, attributes)
	if err != nil {
		return nil, nil, err
	}
	keys := s.ledger.keys(max(prefix, from), prefix+string(rune(0x10FFFF)))
	next := ""
	if len(keys) > int(size) {
		next, keys = keys[size], keys[:size]
	}
	return &fakeIterator{ledger: s.ledger, keys: keys}, &peer.QueryResponseMetadata{Bookmark: next}, nil
}

func (s *fakeStub) GetHistoryForKey(key string) (shim.HistoryQueryIteratorInterface, error) {
	s.unchecked = true
	return &fakeHistory{slices.Clone(s.ledger.history[key])}, nil
}

// ownCollection stands for the peers' rule that only members read a collection, and only its endorsement writes it.
func (s *fakeStub) ownCollection(collection string) {
	var caller msp.SerializedIdentity
	if err := proto.Unmarshal(s.caller, &caller); err != nil || collection != "_implicit_org_"+caller.GetMspid() {
		s.ledger.t.Fatalf("collection %s isn't the caller's", collection)
	}
}

func (s *fakeStub) GetPrivateData(collection, key string) ([]byte, error) {
	s.ownCollection(collection)
	return s.ledger.private[collection+key], nil
}

func (s *fakeStub) GetPrivateDataHash(collection, key string) ([]byte, error) {
	s.ownCollection(collection)
	value, exists := s.ledger.private[collection+key]
	if !exists {
		return nil, nil
	}
	digest := sha256.Sum256(value)
	return digest[:], nil
}

func (s *fakeStub) PutPrivateData(collection, key string, value []byte) error {
	s.ownCollection(collection)
	s.privateWrites[collection+key] = value
	return nil
}

func (s *fakeStub) PurgePrivateData(collection, key string) error {
	s.ownCollection(collection)
	s.privateWrites[collection+key] = nil
	return nil
}

type fakeIterator struct {
	ledger *fakeLedger
	keys   []string
}

func (i *fakeIterator) HasNext() bool { return len(i.keys) > 0 }
func (i *fakeIterator) Close() error  { return nil }

func (i *fakeIterator) Next() (*queryresult.KV, error) {
	key := i.keys[0]
	i.keys = i.keys[1:]
	return &queryresult.KV{Key: key, Value: i.ledger.state[key].value}, nil
}

type fakeHistory struct {
	values []*queryresult.KeyModification
}

func (h *fakeHistory) HasNext() bool { return len(h.values) > 0 }
func (h *fakeHistory) Close() error  { return nil }

func (h *fakeHistory) Next() (*queryresult.KeyModification, error) {
	value := h.values[0]
	h.values = h.values[1:]
	return value, nil
}

// Helpers of the tests.

type fields map[string]any

func (f fields) json() string {
	text, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// with returns a copy with other values; nil takes a field out.
func (f fields) with(other fields) fields {
	merged := fields{}
	for name, value := range f {
		merged[name] = value
	}
	for name, value := range other {
		if value == nil {
			delete(merged, name)
		} else {
			merged[name] = value
		}
	}
	return merged
}

// submit runs and commits a call that must succeed; it steps the clock, so that no two transactions share a timestamp.
func submitted[R any](l *fakeLedger, caller identity, function string, argument fields) R {
	l.t.Helper()
	l.now = l.now.Add(time.Second)
	transaction := l.propose(caller, function, argument.json(), nil)
	answer := answered[R](l, transaction, function)
	if validation := l.commit(transaction); validation != "VALID" {
		l.t.Fatalf("%s: %s", function, validation)
	}
	return answer
}

func evaluated[R any](l *fakeLedger, caller identity, function string, argument fields) R {
	l.t.Helper()
	transaction := l.propose(caller, function, argument.json(), nil)
	if len(transaction.stub.writes)+len(transaction.stub.privateWrites) > 0 || transaction.stub.event != nil {
		l.t.Fatalf("%s is a read and writes", function)
	}
	return answered[R](l, transaction, function)
}

func answered[R any](l *fakeLedger, transaction *endorsed, function string) R {
	l.t.Helper()
	if transaction.response.GetStatus() != shim.OK {
		l.t.Fatalf("%s: %s", function, transaction.response.GetMessage())
	}
	var answer R
	decoder := json.NewDecoder(strings.NewReader(string(transaction.response.GetPayload())))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&answer); err != nil {
		l.t.Fatalf("%s answered %s: %v", function, transaction.response.GetPayload(), err)
	}
	return answer
}

// refused runs a call that must be refused and returns the refusal.
func refused(l *fakeLedger, caller identity, function string, argument fields) *Refusal {
	l.t.Helper()
	l.now = l.now.Add(time.Second)
	return refusal(l.t, l.propose(caller, function, argument.json(), nil))
}

func refusal(t testing.TB, transaction *endorsed) *Refusal {
	t.Helper()
	if transaction.response.GetStatus() == shim.OK {
		t.Fatalf("not refused: %s", transaction.response.GetPayload())
	}
	told := &Refusal{}
	if err := json.Unmarshal([]byte(transaction.response.GetMessage()), told); err != nil {
		t.Fatalf("a refusal that isn't JSON: %q", transaction.response.GetMessage())
	}
	return told
}

func expect[V comparable](t testing.TB, what string, got, want V) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func (l *fakeLedger) lastChanges() []string {
	names := []string{}
	for _, change := range l.events[len(l.events)-1].Changes {
		names = append(names, change.Change)
	}
	return names
}

const (
	car      = "LSVAG2180E2100001"
	otherCar = "LSVAG2180E2100002"
)

func hash(text string) string {
	digest := sha256.Sum256([]byte(text))
	return hex.EncodeToString(digest[:])
}

func lienOf(vin string) fields {
	return fields{
		"vin": vin, "lien_class": "MORTGAGE", "secured_amount": "120000", "currency": "CNY",
		"details_hash": hash("details"), "debtor_hash": "k1:" + hash("debtor"),
	}
}

func firstLienOf(vin string) fields { return lienOf(vin).with(fields{"require_first_rank": true}) }

func titleOf(vin string) fields {
	return fields{"vin": vin, "holder_hash": "k1:" + hash("owner"), "registration_certificate_number": "320000000001"}
}
