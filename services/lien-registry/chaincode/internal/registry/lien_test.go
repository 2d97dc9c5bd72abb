package registry

import (
	"slices"
	"testing"
	"time"
)

func TestALienFromRegistrationToDischarge(t *testing.T) {
	ledger := newLedger(t)
	lien := submitted[Lien](ledger, org1, "RegisterLien", firstLienOf(car))
	if err := checkNumber("", lienNumber, lien.RegistrationNumber); err != nil {
		t.Fatal(err)
	}
	expect(t, "amount", lien.SecuredAmount, "120000.00")
	expect(t, "secured party", lien.SecuredPartyMSPID, "Org1MSP")
	expect(t, "registered at", lien.RegisteredAt, "2026-11-24T09:00:01.000000Z")
	expect(t, "rank counts from", lien.PriorityTxID, lien.TxID)

	told := ledger.events[0]
	expect(t, "event's transaction", told.TxID, lien.TxID)
	expect(t, "change", told.Changes[0].Change, "lien.registered")
	expect(t, "change's record", told.Changes[0].Lien.json(), lien.json())

	number := fields{"registration_number": lien.RegistrationNumber}
	expect(t, "read", evaluated[Lien](ledger, org2, "GetLien", number).json(), lien.json())

	ended := submitted[Lien](ledger, org1, "DischargeLien", number.with(fields{"reason": "PAID_OFF"}))
	expect(t, "state", ended.State, discharged)
	expect(t, "discharged at", ended.DischargedAt, "2026-11-24T09:00:02.000000Z")
	expect(t, "again", refused(ledger, org1, "DischargeLien", number.with(fields{"reason": "PAID_OFF"})).Reason, "LIEN_NOT_ACTIVE")

	history := evaluated[lienHistory](ledger, org2, "GetLienHistory", number)
	expect(t, "versions", len(history.Entries), 2)
	expect(t, "oldest", history.Entries[0].Lien.json(), lien.json())
	expect(t, "newest", history.Entries[1].Change, "lien.discharged")
	expect(t, "newest's transaction", history.Entries[1].TxID, ended.ChangedTxID)
}

func (l Lien) json() string { return fields{"lien": l}.json() }

func TestOnlyTheSecuredPartyChangesALien(t *testing.T) {
	ledger := newLedger(t)
	number := submitted[Lien](ledger, org1, "RegisterLien", lienOf(car)).RegistrationNumber
	for function, argument := range map[string]fields{
		"DischargeLien":   {"reason": "PAID_OFF"},
		"RenewLien":       {"expires_at": "2030-01-01T00:00:00Z"},
		"AssignLien":      {"claim_id": "LOAN-1", "assignee_msp_id": "Org2MSP"},
		"SubordinateLien": {"senior_registration_number": number},
		"AmendLien":       {"amendment": "PARTIAL_DISCHARGE", "secured_amount": "1"},
	} {
		for _, caller := range []identity{org2, newIdentity("Org2MSP", `{"attrs":{"carlien.role":"registrar"}}`)} {
			told := refused(ledger, caller, function, argument.with(fields{"registration_number": number}))
			expect(t, function, told.Kind, Denied)
			expect(t, function, told.Reason, "NOT_SECURED_PARTY")
		}
	}
}

func TestWhatARegistrationMustSay(t *testing.T) {
	ledger := newLedger(t)
	for _, wrong := range []struct {
		field  string
		value  any
		reason string
	}{
		{"vin", "LSVAG2180E210000I", "VIN_FORM"},
		{"vin", "lsvag2180e2100001", "VIN_FORM"},
		{"vin", nil, "VIN_FORM"},
		{"lien_class", "HYPOTHEC", "VALUE_UNKNOWN"},
		{"secured_amount", "0.00", "AMOUNT_NOT_POSITIVE"},
		{"secured_amount", "-5", "AMOUNT_FORM"},
		{"secured_amount", "1e6", "AMOUNT_FORM"},
		{"secured_amount", "1.005", "AMOUNT_DECIMALS"},
		{"secured_amount", "1234567890123456", "AMOUNT_FORM"},
		{"secured_amount", 5, "ARGUMENT_FIELDS"},
		{"currency", "XYZ", "CURRENCY_UNKNOWN"},
		{"currency", "CNY AED", "CURRENCY_UNKNOWN"},
		{"details_hash", "ABC", "HASH_FORM"},
		{"debtor_hash", hash("x"), "KEYED_HASH_FORM"},
		{"debtor_hash", "k0:" + hash("x"), "KEYED_HASH_FORM"},
		{"delivery_date", "2026-02-30", "DATE_FORM"},
		{"expires_at", "2026-11-24T09:00:00+08:00", "INSTANT_FORM"},
		{"expires_at", "2026-11-24T08:59:00Z", "EXPIRES_AT_PAST"},
		{"claim_id", "a b", "DOCUMENT_NUMBER_FORM"},
		{"external_registry", "DMV", "VALUE_UNKNOWN"},
		{"reservation_id", "P0000000000000000", "RESERVATION_WITHOUT_CLAIM"},
		{"unknown", "x", "ARGUMENT_FIELDS"},
	} {
		told := refused(ledger, org1, "RegisterLien", lienOf(car).with(fields{wrong.field: wrong.value}))
		expect(t, wrong.field, told.Reason, wrong.reason)
		expect(t, wrong.field, told.Kind, Invalid)
	}
	expect(t, "purchase money", refused(ledger, org1, "RegisterLien", lienOf(car).with(fields{"lien_class": "PURCHASE_MONEY"})).Reason, "DELIVERY_DATE_REQUIRED")
	expect(t, "possessory", refused(ledger, org1, "RegisterLien", lienOf(car).with(fields{"lien_class": "POSSESSORY"})).Reason, "EVIDENCE_REQUIRED")
	expect(t, "state", len(ledger.state), 0)
}

func TestAnUnknownNumberIsNotFoundAndAMistypedOneInvalid(t *testing.T) {
	ledger := newLedger(t)
	number := newNumber(lienNumber, "tx", 0)
	expect(t, "unknown", refused(ledger, org1, "GetLien", fields{"registration_number": number}).Reason, "LIEN_UNKNOWN")
	for at := 1; at < len(number); at++ {
		swapped := []byte(number)
		swapped[at-1], swapped[at] = swapped[at], swapped[at-1]
		if string(swapped) != number {
			expect(t, "swapped", refused(ledger, org1, "GetLien", fields{"registration_number": string(swapped)}).Reason, "NUMBER_FORM")
		}
	}
}

func TestCheckCharacterIsISO7064(t *testing.T) {
	// The example of the Global Release Identifier standard, which uses MOD 37,36.
	expect(t, "check character", string(checkCharacter("A12425GABC1234002")), "M")
}

func TestListsArePaged(t *testing.T) {
	ledger := newLedger(t)
	want := []string{}
	for range 7 {
		want = append(want, submitted[Lien](ledger, org1, "RegisterLien", lienOf(car)).RegistrationNumber)
	}
	submitted[Lien](ledger, org1, "RegisterLien", lienOf(otherCar).with(fields{"debtor_hash": "k1:" + hash("another")}))
	slices.Sort(want)
	for function, argument := range map[string]fields{
		"ListLiensByVin":    {"vin": car},
		"ListLiensByDebtor": {"debtor_hash": "k1:" + hash("debtor")},
	} {
		got, mark, pages := []string{}, "", 0
		for pages == 0 || mark != "" {
			list := evaluated[lienList](ledger, org2, function, argument.with(fields{"page_size": 3, "bookmark": mark}))
			for _, lien := range list.Liens {
				got = append(got, lien.RegistrationNumber)
			}
			mark = list.Bookmark
			pages++
		}
		expect(t, function+" pages", pages, 3)
		if !slices.Equal(got, want) {
			t.Fatalf("%s: got %v, want %v", function, got, want)
		}
	}
	expect(t, "all", len(evaluated[lienList](ledger, org2, "ListLiens", fields{}).Liens), 8)
	elsewhere := bookmark("\x00LIEN\x00" + otherCar + "\x00")
	expect(t, "bookmark", refused(ledger, org2, "ListLiensByVin", fields{"vin": car, "bookmark": elsewhere}).Reason, "BOOKMARK")
	expect(t, "size", refused(ledger, org2, "ListLiensByVin", fields{"vin": car, "page_size": 501}).Reason, "PAGE_SIZE")
}

func TestAmendmentsAreTyped(t *testing.T) {
	ledger := newLedger(t)
	lien := submitted[Lien](ledger, org1, "RegisterLien", lienOf(car).with(fields{"lien_class": "PLEDGE"}))
	amend := func(amendment string, argument fields) Lien {
		t.Helper()
		return submitted[Lien](ledger, org1, "AmendLien", argument.with(fields{"registration_number": lien.RegistrationNumber, "amendment": amendment}))
	}
	refuse := func(amendment string, argument fields) string {
		t.Helper()
		return refused(ledger, org1, "AmendLien", argument.with(fields{"registration_number": lien.RegistrationNumber, "amendment": amendment})).Reason
	}
	expect(t, "lowered", amend("PARTIAL_DISCHARGE", fields{"secured_amount": "80000.5"}).SecuredAmount, "80000.50")
	expect(t, "raised", refuse("PARTIAL_DISCHARGE", fields{"secured_amount": "80000.51"}), "AMOUNT_NOT_LOWER")
	expect(t, "same", refuse("PARTIAL_DISCHARGE", fields{"secured_amount": "80000.50"}), "AMOUNT_NOT_LOWER")
	expect(t, "other fields", refuse("PARTIAL_DISCHARGE", fields{"secured_amount": "1", "vin": car}), "AMENDMENT_FIELDS")
	expect(t, "restriction", amend("TRANSFER_RESTRICTION", fields{"transfer_restriction_registered": true}).TransferRestrictionRegistered, true)
	external := amend("EXTERNAL_REGISTRY", fields{"external_registry": "ZHONGDENG", "external_certificate_number": "0123-4", "external_status": "REGISTERED"})
	expect(t, "external", external.ExternalCertificateNumber, "0123-4")
	expect(t, "possession ahead", refuse("POSSESSION_ENDED", fields{"possession_ended_on": "2026-11-25"}), "DATE_AHEAD")
	expect(t, "possession", amend("POSSESSION_ENDED", fields{"possession_ended_on": "2026-11-24"}).PossessionEndedOn, "2026-11-24")

	// The consortium's key changes: the registration is found under the new hash, no longer under the old one.
	renamed := "k2:" + hash("debtor")
	expect(t, "debtor", amend("DEBTOR", fields{"debtor_hash": renamed, "details_hash": lien.DetailsHash}).DebtorHash, renamed)
	expect(t, "new hash", len(evaluated[lienList](ledger, org2, "ListLiensByDebtor", fields{"debtor_hash": renamed}).Liens), 1)
	expect(t, "old hash", len(evaluated[lienList](ledger, org2, "ListLiensByDebtor", fields{"debtor_hash": lien.DebtorHash}).Liens), 0)
	expect(t, "unknown", refuse("PRICE", fields{}), "VALUE_UNKNOWN")

	submitted[Lien](ledger, org1, "DischargeLien", fields{"registration_number": lien.RegistrationNumber, "reason": "PAID_OFF"})
	expect(t, "discharged", refuse("PARTIAL_DISCHARGE", fields{"secured_amount": "1"}), "LIEN_NOT_ACTIVE")
}

func TestCollateralIsAddedAndSubstituted(t *testing.T) {
	ledger := newLedger(t)
	bought := firstLienOf(car).with(fields{"lien_class": "PURCHASE_MONEY", "delivery_date": "2026-11-20"})
	base := submitted[Lien](ledger, org1, "RegisterLien", bought)
	amend := fields{"registration_number": base.RegistrationNumber, "amendment": "ADD_COLLATERAL", "vin": otherCar}
	further := submitted[Lien](ledger, org1, "AmendLien", amend)
	expect(t, "base", further.BaseRegistrationNumber, base.RegistrationNumber)
	expect(t, "class", further.LienClass, mortgage)
	expect(t, "rank", further.FirstRank, false)
	expect(t, "version", further.Version, 1)
	expect(t, "base stands", evaluated[Lien](ledger, org1, "GetLien", fields{"registration_number": base.RegistrationNumber}).State, active)

	third := "LSVAG2180E2100003"
	replacing := submitted[Lien](ledger, org1, "AmendLien", amend.with(fields{"amendment": "SUBSTITUTE_COLLATERAL", "vin": third, "require_first_rank": true}))
	expect(t, "claimed", replacing.FirstRank, true)
	if want := []string{"lien.registered", "lien.discharged"}; !slices.Equal(ledger.lastChanges(), want) {
		t.Fatalf("changes %v", ledger.lastChanges())
	}
	old := evaluated[Lien](ledger, org1, "GetLien", fields{"registration_number": base.RegistrationNumber})
	expect(t, "replaced", old.ReplacedBy, replacing.RegistrationNumber)
	expect(t, "reason", old.DischargeReason, "SUBSTITUTED")
	expect(t, "same car", refused(ledger, org1, "AmendLien", fields{"registration_number": further.RegistrationNumber, "amendment": "ADD_COLLATERAL", "vin": otherCar}).Reason, "SAME_VEHICLE")
}

func TestRenewalOnlyBeforeTheEnd(t *testing.T) {
	ledger := newLedger(t)
	end := ledger.now.Add(time.Hour)
	lien := submitted[Lien](ledger, org1, "RegisterLien", lienOf(car).with(fields{"expires_at": instant(end)}))
	renew := func(until time.Time) fields {
		return fields{"registration_number": lien.RegistrationNumber, "expires_at": instant(until)}
	}
	expect(t, "earlier", refused(ledger, org1, "RenewLien", renew(end.Add(-time.Minute))).Reason, "RENEWAL_NOT_LATER")
	later := end.Add(time.Hour)
	expect(t, "renewed", submitted[Lien](ledger, org1, "RenewLien", renew(later)).ExpiresAt, instant(later))
	ledger.now = later
	expect(t, "too late", refused(ledger, org1, "RenewLien", renew(later.Add(time.Hour))).Reason, "LIEN_EXPIRED")
	submitted[Lien](ledger, org1, "DischargeLien", fields{"registration_number": lien.RegistrationNumber, "reason": "EXPIRED"})

	endless := submitted[Lien](ledger, org1, "RegisterLien", lienOf(car))
	expect(t, "endless", refused(ledger, org1, "RenewLien", fields{"registration_number": endless.RegistrationNumber, "expires_at": "2040-01-01T00:00:00Z"}).Reason, "RENEWAL_NOT_LATER")
}
