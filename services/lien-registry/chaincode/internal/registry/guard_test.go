package registry

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
)

func TestBytesThatArentUTF8AreRefusedBeforeAnythingElse(t *testing.T) {
	ledger := newLedger(t)
	bad := string([]byte{0xff, 0xfe})
	for _, arguments := range [][]string{
		{"GetLien", bad},
		{"GetLien", `{"registration_number":"` + bad + `"}`},
		{bad, "{}"},
		{"GetLien" + bad, "{}"},
		{"GetTitle", `{"vin":"` + bad + `"}`},
	} {
		transaction := ledger.proposeRaw(org1, [][]byte{[]byte(arguments[0]), []byte(arguments[1])}, nil, ledger.now)
		told := refusal(t, transaction)
		expect(t, "reason", told.Reason, "ARGUMENT_NOT_UTF8")
		expect(t, "state was read", len(transaction.stub.reads), 0)
		expect(t, "the refusal is UTF-8", utf8.ValidString(transaction.response.GetMessage()), true)
	}
}

func TestStrictArguments(t *testing.T) {
	ledger := newLedger(t)
	number := newNumber(lienNumber, "tx", 0)
	for argument, reason := range map[string]string{
		``:                              "ARGUMENT_NOT_OBJECT",
		`null`:                          "ARGUMENT_NOT_OBJECT",
		`[]`:                            "ARGUMENT_NOT_OBJECT",
		`{"registration_number":"x"`:    "ARGUMENT_NOT_OBJECT",
		`{"registration_number":"x"}{}`: "ARGUMENT_NOT_OBJECT",
		`{"registration_number":"x"} x`: "ARGUMENT_NOT_OBJECT",
		`{"Registration_Number":"` + number + `"}`:                                        "ARGUMENT_FIELDS",
		`{"registration_number":"` + number + `","registration_number":"` + number + `"}`: "ARGUMENT_FIELDS",
		`{"registration_number":null}`:                                                    "ARGUMENT_FIELDS",
		`{"registration_number":5}`:                                                       "ARGUMENT_FIELDS",
		`{"registration_number":"` + number + `","more":1}`:                               "ARGUMENT_FIELDS",
		`{"a":[[[[[[1]]]]]]}`:                                                             "ARGUMENT_TOO_DEEP",
		`{"registration_number":"\u0000"}`:                                                "NUMBER_FORM",
		`{"registration_number":"\ud800"}`:                                                "NUMBER_FORM",
		`{"registration_number":"` + strings.Repeat("x", maxArgument) + `"}`:              "ARGUMENT_TOO_LONG",
	} {
		told := refusal(t, ledger.propose(org1, "GetLien", argument, nil))
		if told.Reason != reason {
			t.Fatalf("%.60s: got %s, want %s", argument, told.Reason, reason)
		}
	}
}

func TestCallsOfAnotherForm(t *testing.T) {
	ledger := newLedger(t)
	for _, wrong := range []struct {
		arguments []string
		reason    string
	}{
		{[]string{}, "ARGUMENT_COUNT"},
		{[]string{"GetLien"}, "ARGUMENT_COUNT"},
		{[]string{"GetLien", "{}", "{}"}, "ARGUMENT_COUNT"},
		{[]string{"Steal", "{}"}, "FUNCTION_UNKNOWN"},
		{[]string{"getLien", "{}"}, "FUNCTION_UNKNOWN"},
		{[]string{"mortgage-asset:GetLien", "{}"}, "FUNCTION_UNKNOWN"},
		{[]string{"", "{}"}, "FUNCTION_UNKNOWN"},
	} {
		arguments := [][]byte{}
		for _, argument := range wrong.arguments {
			arguments = append(arguments, []byte(argument))
		}
		expect(t, strings.Join(wrong.arguments, " "), refusal(t, ledger.proposeRaw(org1, arguments, nil, ledger.now)).Reason, wrong.reason)
	}
	metadata := ledger.proposeRaw(org1, [][]byte{[]byte("org.hyperledger.fabric:GetMetadata")}, nil, ledger.now)
	expect(t, "metadata", metadata.response.GetStatus(), int32(shim.OK))
}

// Every function there is, called with every kind of nonsense, answers a refusal in the one format.
func TestEveryFunctionRefusesNonsense(t *testing.T) {
	ledger := newLedger(t)
	functions := reflect.TypeOf(&Registry{})
	called := 0
	for at := range functions.NumMethod() {
		method := functions.Method(at)
		if method.Type.NumIn() != 3 || method.Type.NumOut() != 2 {
			continue
		}
		called++
		for _, argument := range []string{`{"nonsense":true}`, `{"vin":5}`, `[]`, `"x"`} {
			told := refusal(t, ledger.propose(org1, method.Name, argument, nil))
			expect(t, method.Name, told.Kind, Invalid)
		}
		if method.Name != "ListLiens" && method.Name != "ListPolicies" && method.Name != "GetAnchors" {
			told := refusal(t, ledger.propose(org1, method.Name, `{}`, nil))
			expect(t, method.Name+" without fields", told.Kind, Invalid)
		}
		if !strings.HasSuffix(method.Name, "StoreDetails") {
			told := refusal(t, ledger.propose(org1, method.Name, `{}`, map[string][]byte{"details": []byte("{}")}))
			expect(t, method.Name+" with transient data", told.Reason, "TRANSIENT_FORBIDDEN")
		}
	}
	expect(t, "functions", called, 38)
}

func TestReadsAreNamedAsReads(t *testing.T) {
	for _, name := range (&Registry{}).GetEvaluateTransactions() {
		if _, exists := reflect.TypeOf(&Registry{}).MethodByName(name); !exists {
			t.Fatalf("%s isn't a function", name)
		}
	}
}

func TestATimestampFarFromTheEndorsersClock(t *testing.T) {
	ledger := newLedger(t)
	for skew, accepted := range map[time.Duration]bool{
		30 * time.Second: true, -30 * time.Second: true, 31 * time.Second: false, -31 * time.Second: false, 24 * time.Hour: false,
	} {
		transaction := ledger.proposeRaw(org1, [][]byte{[]byte("RegisterLien"), []byte(lienOf(car).json())}, nil, ledger.now.Add(skew))
		if accepted {
			expect(t, skew.String(), transaction.response.GetStatus(), int32(shim.OK))
		} else {
			expect(t, skew.String(), refusal(t, transaction).Reason, "CLOCK_SKEW")
		}
	}
}

func TestAPanicIsARefusal(t *testing.T) {
	ledger := newLedger(t)
	transaction := ledger.propose(org1, "RegisterLien", lienOf(car).json(), nil)
	transaction.stub.ledger = nil
	transaction.stub.event = nil
	response := ledger.chaincode.Invoke(transaction.stub)
	told := &Refusal{}
	if err := json.Unmarshal([]byte(response.GetMessage()), told); err != nil {
		t.Fatal(err)
	}
	expect(t, "reason", told.Reason, "CHAINCODE_FAILED")
}

func TestTheCallerMustBeSomebody(t *testing.T) {
	ledger := newLedger(t)
	for _, caller := range []identity{nil, identity("nonsense"), newIdentity("", "")} {
		expect(t, "reason", refusal(t, ledger.propose(caller, "GetTitle", `{"vin":"`+car+`"}`, nil)).Reason, "IDENTITY_UNREADABLE")
	}
}

// Two endorsers, run apart, must give the same bytes.
func TestEndorsersAgree(t *testing.T) {
	results := [][]string{}
	for range 2 {
		ledger := newLedger(t)
		seed := submitted[Lien](ledger, org1, "RegisterLien", lienOf(car))
		result := []string{seed.json()}
		for _, call := range [][]string{
			{"RegisterLien", lienOf(car).json()},
			{"BatchRegisterLiens", fields{"items": []fields{lienOf(car), firstLienOf(otherCar), lienOf("x")}}.json()},
			{"DischargeLien", fields{"registration_number": seed.RegistrationNumber, "reason": "PAID_OFF"}.json()},
			{"ReservePriority", fields{"vin": otherCar, "hold_seconds": 90}.json()},
		} {
			transaction := ledger.propose(org1, call[0], call[1], nil)
			writes := []string{}
			for key, value := range transaction.stub.writes {
				writes = append(writes, key+"="+string(value))
			}
			slices.Sort(writes)
			result = append(result, string(transaction.response.GetPayload()), string(transaction.stub.event), strings.Join(writes, "\n"))
		}
		results = append(results, result)
	}
	if !slices.Equal(results[0], results[1]) {
		t.Fatal("two runs differ")
	}
}
