package registry

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
)

// world runs random calls by random callers, several of them on the same state before any is ordered, in random order, with
// clocks that differ, and checks after each commit what must always hold.
type world struct {
	*fakeLedger
	random  *rand.Rand
	callers []identity
	mspIDs  []string
	cars    []string
	numbers []string
	before  map[string]Lien
	steps   map[string]int
}

func TestWhateverHappensTheRegistryHolds(t *testing.T) {
	tried := map[string]int{}
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := &world{
				fakeLedger: newLedger(t),
				random:     rand.New(rand.NewPCG(seed, 1)),
				callers:    []identity{org1, org2, org3},
				mspIDs:     []string{"Org1MSP", "Org2MSP", "Org3MSP"},
				cars:       []string{car, otherCar},
				before:     map[string]Lien{},
				steps:      tried,
			}
			for range 60 {
				w.round()
			}
		})
	}
	for _, outcome := range []string{"VALID", "conflict", "FIRST_RANK_TAKEN", "LIEN_EXPIRED", "LIEN_NOT_ACTIVE", "NOT_SECURED_PARTY"} {
		if tried[outcome] < 10 {
			t.Fatalf("%s came too seldom for the runs to mean much: %v", outcome, tried)
		}
	}
}

func (w *world) round() {
	w.now = w.now.Add(time.Duration(w.random.IntN(90)) * time.Second)
	flying := []*endorsed{}
	for range 1 + w.random.IntN(4) {
		caller := w.random.IntN(len(w.callers))
		function, argument := w.call()
		skew := time.Duration(w.random.IntN(59)-29) * time.Second
		transaction := w.proposeRaw(w.callers[caller], [][]byte{[]byte(function), []byte(argument.json())}, nil, w.now.Add(skew))
		if transaction.response.GetStatus() != shim.OK {
			told := refusal(w.t, transaction)
			if told.Kind == Invalid || told.Kind == Unavailable {
				w.t.Fatalf("%s %s: %s", function, argument.json(), told.Error())
			}
			w.steps[told.Reason]++
			continue
		}
		flying = append(flying, transaction)
	}
	w.random.Shuffle(len(flying), func(left, right int) { flying[left], flying[right] = flying[right], flying[left] })
	for _, transaction := range flying {
		if validation := w.commit(transaction); validation != "VALID" {
			w.steps["conflict"]++
			continue
		}
		w.steps["VALID"]++
		w.check(transaction)
	}
}

func (w *world) call() (string, fields) {
	vin := w.cars[w.random.IntN(len(w.cars))]
	if len(w.numbers) == 0 || w.random.IntN(3) == 0 {
		argument := lienOf(vin).with(fields{"require_first_rank": w.random.IntN(2) == 0})
		if w.random.IntN(2) == 0 {
			argument["expires_at"] = instant(w.now.Add(time.Duration(60+w.random.IntN(600)) * time.Second))
		}
		return "RegisterLien", argument
	}
	number := fields{"registration_number": w.numbers[w.random.IntN(len(w.numbers))]}
	switch w.random.IntN(8) {
	case 0:
		return "ReservePriority", fields{"vin": vin, "hold_seconds": 60 + w.random.IntN(300)}
	case 1:
		return "RenewLien", number.with(fields{"expires_at": instant(w.now.Add(time.Duration(61+w.random.IntN(900)) * time.Second))})
	case 2:
		return "AmendLien", number.with(fields{"amendment": "TRANSFER_RESTRICTION", "transfer_restriction_registered": true})
	case 3:
		other := w.cars[w.random.IntN(len(w.cars))]
		if strings.Contains(w.state[w.keyOf(number["registration_number"].(string))].String(), other) {
			return "ReservePriority", fields{"vin": other, "hold_seconds": 60}
		}
		return "AmendLien", number.with(fields{"amendment": "SUBSTITUTE_COLLATERAL", "vin": other, "require_first_rank": w.random.IntN(2) == 0})
	case 4:
		return "AssignLien", number.with(fields{"claim_id": "LOAN-1", "assignee_msp_id": "Org4MSP"})
	}
	return "DischargeLien", number.with(fields{"reason": "PAID_OFF"})
}

func (s stored) String() string { return string(s.value) }

func (w *world) keyOf(number string) string {
	key, err := shim.CreateCompositeKey(numberKey, []string{number})
	if err != nil {
		w.t.Fatal(err)
	}
	return key
}

func (w *world) check(transaction *endorsed) {
	liens := w.liens()
	byCar := map[string][]Lien{}
	for number, lien := range liens {
		byCar[lien.VIN] = append(byCar[lien.VIN], lien)
		w.checkChange(transaction, w.before[number], lien)
	}
	for number := range w.before {
		if _, exists := liens[number]; !exists {
			w.t.Fatalf("registration %s is gone", number)
		}
	}
	for vin, onCar := range byCar {
		w.checkFirstRank(vin, onCar)
	}
	w.before = liens
	w.numbers = w.numbers[:0]
	for number := range liens {
		w.numbers = append(w.numbers, number)
	}
	slices.Sort(w.numbers)
}

func (w *world) liens() map[string]Lien {
	liens := map[string]Lien{}
	prefix, err := shim.CreateCompositeKey(lienKey, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for key, record := range w.state {
		if strings.HasPrefix(key, prefix) {
			var lien Lien
			if err := json.Unmarshal(record.value, &lien); err != nil {
				w.t.Fatal(err)
			}
			liens[lien.RegistrationNumber] = lien
		}
	}
	return liens
}

// checkFirstRank: at no instant are two registrations with first rank in force on one car, whosever clock tells the time.
func (w *world) checkFirstRank(vin string, liens []Lien) {
	holders := []Lien{}
	for _, lien := range liens {
		if lien.FirstRank && lien.State == active {
			holders = append(holders, lien)
		}
	}
	slices.SortFunc(holders, func(left, right Lien) int { return strings.Compare(left.RegisteredAt, right.RegisteredAt) })
	for at := 1; at < len(holders); at++ {
		// Both are active: then the older had expired, by the claim's own time, when the younger claimed.
		if earlier := holders[at-1]; earlier.ExpiresAt == "" || earlier.ExpiresAt > holders[at].RegisteredAt {
			w.t.Fatalf("%s: two registrations have first rank:\n%s\n%s", vin, earlier.json(), holders[at].json())
		}
	}
}

// checkChange: only the secured party changed a registration, one version at a time, and nothing that must stay changed.
func (w *world) checkChange(transaction *endorsed, old, lien Lien) {
	if old.RegistrationNumber == "" || old.Version == lien.Version {
		return
	}
	caller := w.mspIDs[slices.IndexFunc(w.callers, func(candidate identity) bool { return string(candidate) == string(transaction.stub.caller) })]
	switch {
	case old.SecuredPartyMSPID != caller:
		w.t.Fatalf("%s changed a registration of %s", caller, old.SecuredPartyMSPID)
	case lien.Version != old.Version+1:
		w.t.Fatalf("version %d follows %d", lien.Version, old.Version)
	case old.State != active:
		w.t.Fatalf("a discharged registration was changed: %s", lien.json())
	case lien.ChangedTxID != transaction.stub.txID:
		w.t.Fatalf("the version names another transaction")
	case old.TxID != lien.TxID || old.VIN != lien.VIN || old.PriorityTxID != lien.PriorityTxID || old.FirstRank != lien.FirstRank:
		w.t.Fatalf("what must stay has changed: %s", lien.json())
	}
	key, err := shim.CreateCompositeKey(lienKey, []string{lien.VIN, lien.RegistrationNumber})
	if err != nil {
		w.t.Fatal(err)
	}
	if len(w.history[key]) != lien.Version {
		w.t.Fatalf("%d versions are kept of %d", len(w.history[key]), lien.Version)
	}
}

// Valid arguments with bytes changed, dropped, doubled and cut: whatever comes, the answer is one of ours.
func TestMutatedArgumentsAreAnsweredInTheOneFormat(t *testing.T) {
	ledger, random := newLedger(t), rand.New(rand.NewPCG(1, 2))
	lien := submitted[Lien](ledger, org1, "RegisterLien", lienOf(car))
	seeds := []struct{ function, argument string }{
		{"RegisterLien", firstLienOf(car).json()},
		{"BatchRegisterLiens", fields{"items": []any{lienOf(car), firstLienOf(otherCar), 5}}.json()},
		{"GetLien", fields{"registration_number": lien.RegistrationNumber}.json()},
		{"ListLiensByVin", fields{"vin": car, "page_size": 3, "bookmark": bookmark("\x00LIEN\x00" + car + "\x00")}.json()},
		{"AmendLien", fields{"registration_number": lien.RegistrationNumber, "amendment": "PARTIAL_DISCHARGE", "secured_amount": "1"}.json()},
	}
	reasons := map[string]int{}
	for range 10_000 {
		seed := seeds[random.IntN(len(seeds))]
		argument := []byte(seed.argument)
		for range 1 + random.IntN(3) {
			argument = mutate(random, argument)
		}
		transaction := ledger.proposeRaw(org1, [][]byte{[]byte(seed.function), argument}, nil, ledger.now)
		if transaction.response.GetStatus() == shim.OK {
			reasons["accepted"]++
			continue
		}
		told := refusal(t, transaction)
		if told.Kind == Unavailable {
			t.Fatalf("%s %q: %s", seed.function, argument, told.Error())
		}
		reasons[told.Reason]++
	}
	if len(reasons) < 12 {
		t.Fatalf("the mutations reached little: %v", reasons)
	}
}

func mutate(random *rand.Rand, argument []byte) []byte {
	if len(argument) == 0 {
		return argument
	}
	at := random.IntN(len(argument))
	changed := slices.Clone(argument)
	switch random.IntN(5) {
	case 0:
		changed[at] = byte(random.IntN(256))
	case 1:
		changed[at] = byte(' ' + random.IntN(95))
	case 2:
		changed = slices.Delete(changed, at, at+1)
	case 3:
		changed = slices.Insert(changed, at, changed[at])
	case 4:
		changed = changed[:at]
	}
	return changed
}
