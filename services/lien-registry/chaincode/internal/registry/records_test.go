package registry

import (
	"fmt"
	"slices"
	"testing"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
)

func TestABatchHasAnOutcomePerItem(t *testing.T) {
	ledger := newLedger(t)
	taken := submitted[Lien](ledger, org2, "RegisterLien", firstLienOf("LSVAG2180E2100009"))
	answer := submitted[BatchOutcome](ledger, org1, "BatchRegisterLiens", fields{"items": []any{
		firstLienOf(car),
		lienOf("short"),
		firstLienOf(car),
		lienOf(car),
		lienOf(otherCar),
		firstLienOf(otherCar),
		firstLienOf("LSVAG2180E2100009"),
		lienOf(car).with(fields{"unknown": 1}),
		5,
	}})
	got := []string{}
	for at, outcome := range answer.Outcomes {
		expect(t, "item", outcome.Item, at)
		switch {
		case outcome.Error == nil:
			got = append(got, "registered")
		case outcome.Error.Kind == Invalid:
			got = append(got, outcome.Error.Reason+" "+outcome.Error.Metadata["field"])
		default:
			got = append(got, outcome.Error.Reason)
		}
	}
	want := []string{
		"registered", "VIN_FORM items[1].vin", "FIRST_RANK_TAKEN", "registered", "registered", "FIRST_RANK_TAKEN", "FIRST_RANK_TAKEN",
		"ARGUMENT_FIELDS items[7].argument", "ARGUMENT_NOT_OBJECT items[8].argument",
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got  %v\nwant %v", got, want)
	}
	expect(t, "by", answer.Outcomes[2].Error.Metadata["registration_number"], answer.Outcomes[0].Lien.RegistrationNumber)
	expect(t, "by the other org", answer.Outcomes[6].Error.Metadata["registration_number"], taken.RegistrationNumber)
	told := ledger.events[len(ledger.events)-1].Changes
	expect(t, "changes", len(told), 3)
	expect(t, "item of the last change", told[2].Item, 4)
	expect(t, "on the ledger", len(evaluated[lienList](ledger, org2, "ListLiensByVin", fields{"vin": car}).Liens), 2)
}

func TestABatchOfAHundred(t *testing.T) {
	ledger := newLedger(t)
	items := []any{}
	for at := range 101 {
		items = append(items, firstLienOf(fmt.Sprintf("LSVAG2180E21%05d", at)))
	}
	expect(t, "too many", refused(ledger, org1, "BatchRegisterLiens", fields{"items": items}).Reason, "BATCH_SIZE")
	submitted[BatchOutcome](ledger, org1, "BatchRegisterLiens", fields{"items": items[:100]})
	expect(t, "changes", len(ledger.events[0].Changes), 100)
	told := refused(ledger, org1, "BatchRegisterLiens", fields{"items": items[:2]})
	expect(t, "nothing to register", told.Reason, "BATCH_EMPTY")
	expect(t, "outcomes", len(told.Outcomes), 2)
	expect(t, "empty", refused(ledger, org1, "BatchRegisterLiens", fields{"items": []any{}}).Reason, "BATCH_SIZE")
}

func TestABatchUsesAReservationOnce(t *testing.T) {
	ledger := newLedger(t)
	submitted[Reservation](ledger, org1, "ReservePriority", fields{"vin": car, "hold_seconds": 300})
	answer := submitted[BatchOutcome](ledger, org1, "BatchRegisterLiens", fields{"items": []any{lienOf(car), firstLienOf(car), firstLienOf(car)}})
	expect(t, "behind the reservation", answer.Outcomes[0].Lien.FirstRank, false)
	expect(t, "claimed", answer.Outcomes[1].Lien.FirstRank, true)
	expect(t, "once", answer.Outcomes[2].Error.Reason, "FIRST_RANK_TAKEN")
}

func TestDetailsStayWithTheirOrganisation(t *testing.T) {
	ledger := newLedger(t)
	details := []byte(`{"debtor":{"id_number":"91320000000000000X"},"salt":"00"}`)
	lien := submitted[Lien](ledger, org1, "RegisterLien", lienOf(car).with(fields{"details_hash": hash(string(details))}))
	number := fields{"registration_number": lien.RegistrationNumber}
	store := func(caller identity, transient map[string][]byte) *endorsed {
		return ledger.propose(caller, "StoreDetails", number.json(), transient)
	}
	expect(t, "another org", refusal(t, store(org2, map[string][]byte{"details": details})).Reason, "NOT_SECURED_PARTY")
	expect(t, "other details", refusal(t, store(org1, map[string][]byte{"details": []byte(`{}`)})).Reason, "DETAILS_MISMATCH")
	expect(t, "no JSON", refusal(t, store(org1, map[string][]byte{"details": {0xff}})).Reason, "DETAILS_FORM")
	expect(t, "nothing", refusal(t, store(org1, nil)).Reason, "DETAILS_MISSING")
	expect(t, "more", refusal(t, store(org1, map[string][]byte{"details": details, "more": {1}})).Reason, "DETAILS_MISSING")
	expect(t, "unknown yet", refused(ledger, org1, "GetDetails", number).Reason, "DETAILS_UNKNOWN")

	for range 2 {
		transaction := store(org1, map[string][]byte{"details": details})
		expect(t, "stored", transaction.response.GetStatus(), int32(shim.OK))
		expect(t, "public writes", len(transaction.stub.writes), 0)
		expect(t, "event", transaction.stub.event == nil, true)
		expect(t, "committed", ledger.commit(transaction), "VALID")
	}
	expect(t, "read", evaluated[Details](ledger, org1, "GetDetails", number).Details, string(details))
	expect(t, "another org", refused(ledger, org2, "GetDetails", number).Reason, "DETAILS_UNKNOWN")
	submitted[DetailsStored](ledger, org1, "PurgeDetails", number)
	expect(t, "purged", refused(ledger, org1, "GetDetails", number).Reason, "DETAILS_UNKNOWN")
	expect(t, "purged twice", refused(ledger, org1, "PurgeDetails", number).Reason, "DETAILS_UNKNOWN")
}

func TestDetailsOfSeveralLiensAreStoredAtOnceOrNotAtAll(t *testing.T) {
	ledger := newLedger(t)
	numbers, transient := []string{}, map[string][]byte{}
	for at := range 3 {
		details := fmt.Sprintf(`{"salt":"%d"}`, at)
		lien := submitted[Lien](ledger, org1, "RegisterLien", lienOf(car).with(fields{"details_hash": hash(details)}))
		numbers = append(numbers, lien.RegistrationNumber)
		transient[lien.RegistrationNumber] = []byte(details)
	}
	store := func(caller identity, numbers []string, transient map[string][]byte) *endorsed {
		return ledger.propose(caller, "BatchStoreDetails", fields{"registration_numbers": numbers}.json(), transient)
	}
	expect(t, "another org", refusal(t, store(org2, numbers, transient)).Reason, "NOT_SECURED_PARTY")
	expect(t, "none", refusal(t, store(org1, []string{}, nil)).Reason, "BATCH_SIZE")
	expect(t, "too many", refusal(t, store(org1, make([]string, 101), transient)).Reason, "BATCH_SIZE")
	expect(t, "one too few", refusal(t, store(org1, numbers[:2], transient)).Reason, "DETAILS_MISSING")
	expect(t, "one twice", refusal(t, store(org1, []string{numbers[0], numbers[0], numbers[1]}, transient)).Reason, "NUMBER_REPEATED")
	swapped := map[string][]byte{numbers[0]: transient[numbers[1]], numbers[1]: transient[numbers[0]], numbers[2]: transient[numbers[2]]}
	expect(t, "another's", refusal(t, store(org1, numbers, swapped)).Reason, "DETAILS_MISMATCH")
	unknown := refusal(t, store(org1, []string{numbers[0], "L1"}, map[string][]byte{numbers[0]: transient[numbers[0]], "L1": []byte("{}")}))
	expect(t, "which one", unknown.Metadata["field"], "registration_numbers[1]")

	transaction := store(org1, numbers, transient)
	expect(t, "public writes", len(transaction.stub.writes), 0)
	expect(t, "committed", ledger.commit(transaction), "VALID")
	for _, number := range numbers {
		told := evaluated[Details](ledger, org1, "GetDetails", fields{"registration_number": number})
		expect(t, "read", told.Details, string(transient[number]))
	}
}

func TestDisputes(t *testing.T) {
	ledger := newLedger(t)
	lien := submitted[Lien](ledger, org1, "RegisterLien", lienOf(car))
	objection := fields{"vin": car, "registration_number": lien.RegistrationNumber, "kind": "OBJECTION", "statement_hash": hash("statement")}
	expect(t, "another car", refused(ledger, org2, "OpenDispute", objection.with(fields{"vin": otherCar})).Reason, "OTHER_VEHICLE")
	dispute := submitted[Dispute](ledger, org2, "OpenDispute", objection)
	resolve := fields{"dispute_id": dispute.DisputeID, "resolution": "UPHELD", "resolution_hash": hash("decision")}
	expect(t, "no registrar", refused(ledger, org2, "ResolveDispute", resolve).Reason, "REGISTRAR_ONLY")
	withdrawal := resolve.with(fields{"resolution": "WITHDRAWN"})
	expect(t, "another's", refused(ledger, registrar, "ResolveDispute", withdrawal).Reason, "NOT_OPENED_BY_YOU")
	expect(t, "upheld", submitted[Dispute](ledger, registrar, "ResolveDispute", resolve).State, "UPHELD")
	expect(t, "closed", refused(ledger, org2, "ResolveDispute", withdrawal).Reason, "DISPUTE_CLOSED")
	expect(t, "the lien stands", evaluated[Lien](ledger, org1, "GetLien", fields{"registration_number": lien.RegistrationNumber}).State, active)

	demand := submitted[Dispute](ledger, org2, "OpenDispute", fields{"vin": car, "kind": "CHANGE_DEMAND", "statement_hash": hash("demand")})
	withdrawn := submitted[Dispute](ledger, org2, "ResolveDispute", withdrawal.with(fields{"dispute_id": demand.DisputeID}))
	expect(t, "withdrawn", evaluated[Dispute](ledger, org1, "GetDispute", fields{"dispute_id": demand.DisputeID}), withdrawn)
	expect(t, "list", len(evaluated[disputeList](ledger, org1, "ListDisputes", fields{"vin": car}).Disputes), 2)
}

func TestPoliciesAreDated(t *testing.T) {
	ledger := newLedger(t)
	policy := fields{"effective_from": "2027-01-01", "currency": "CNY", "minimum_value": "300000", "lien_classes": []string{"MORTGAGE"}, "source": "Consortium decision 1"}
	expect(t, "no registrar", refused(ledger, org1, "SetPolicy", policy).Reason, "REGISTRAR_ONLY")
	submitted[Policy](ledger, registrar, "SetPolicy", policy)
	submitted[Policy](ledger, registrar, "SetPolicy", policy.with(fields{"effective_from": "2027-07-01", "minimum_value": "100000"}))
	expect(t, "same day", refused(ledger, registrar, "SetPolicy", policy).Reason, "POLICY_EXISTS")
	expect(t, "the past", refused(ledger, registrar, "SetPolicy", policy.with(fields{"effective_from": "2026-11-23"})).Reason, "POLICY_RETROACTIVE")
	expect(t, "class", refused(ledger, registrar, "SetPolicy", policy.with(fields{"lien_classes": []string{"X"}})).Reason, "VALUE_UNKNOWN")
	expect(t, "before", refused(ledger, org1, "GetPolicy", fields{"as_of": "2026-12-31"}).Reason, "POLICY_UNKNOWN")
	expect(t, "first step", evaluated[Policy](ledger, org1, "GetPolicy", fields{"as_of": "2027-06-30"}).MinimumValue, "300000.00")
	expect(t, "second step", evaluated[Policy](ledger, org1, "GetPolicy", fields{"as_of": "2027-07-01"}).MinimumValue, "100000.00")
	expect(t, "all", len(evaluated[policyList](ledger, org1, "ListPolicies", fields{}).Policies), 2)
}

func TestAnchors(t *testing.T) {
	ledger := newLedger(t)
	anchor := fields{"block_number": 1234, "root": hash("root")}
	left, right := ledger.propose(org1, "PostAnchor", anchor.json(), nil), ledger.propose(org2, "PostAnchor", anchor.json(), nil)
	expect(t, "one org", ledger.commit(left), "VALID")
	expect(t, "the other", ledger.commit(right), "VALID")
	expect(t, "twice", refused(ledger, org1, "PostAnchor", anchor.with(fields{"root": hash("other")})).Reason, "ANCHOR_EXISTS")
	submitted[Anchor](ledger, org1, "PostAnchor", anchor.with(fields{"block_number": 12340}))
	expect(t, "anchors", len(evaluated[anchorList](ledger, org1, "GetAnchors", fields{"block_number": 1234}).Anchors), 2)
	expect(t, "negative", refused(ledger, org1, "PostAnchor", anchor.with(fields{"block_number": -1})).Reason, "BLOCK_NUMBER")
	expect(t, "fraction", refused(ledger, org1, "PostAnchor", anchor.with(fields{"block_number": 1.5})).Reason, "ARGUMENT_FIELDS")
}
