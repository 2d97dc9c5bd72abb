package registry

import (
	"slices"
	"testing"
	"time"
)

var nextOwner = fields{
	"vin": car, "holder_hash": "k1:" + hash("next owner"), "holder_msp_id": "Org2MSP", "registration_certificate_number": "320000000002",
}

func TestATitleIsIssuedOnceByARegistrar(t *testing.T) {
	ledger := newLedger(t)
	told := refused(ledger, org1, "IssueTitle", titleOf(car))
	expect(t, "no registrar", told.Reason, "REGISTRAR_ONLY")
	expect(t, "kind", told.Kind, Denied)
	clerk := newIdentity("Org1MSP", `{"attrs":{"carlien.role":"clerk"}}`)
	expect(t, "another role", refused(ledger, clerk, "IssueTitle", titleOf(car)).Reason, "REGISTRAR_ONLY")

	title := submitted[Title](ledger, registrar, "IssueTitle", titleOf(car))
	expect(t, "holder", title.HolderMSPID, "Org1MSP")
	expect(t, "again", refused(ledger, registrar, "IssueTitle", titleOf(car)).Reason, "TITLE_EXISTS")
	expect(t, "read", evaluated[Title](ledger, org2, "GetTitle", fields{"vin": car}), title)
	expect(t, "event", *ledger.events[0].Changes[0].Title, title)
	expect(t, "unknown", refused(ledger, org2, "GetTitle", fields{"vin": otherCar}).Reason, "TITLE_UNKNOWN")

	left, right := ledger.propose(registrar, "IssueTitle", titleOf(otherCar).json(), nil), ledger.propose(registrar, "IssueTitle", titleOf(otherCar).json(), nil)
	expect(t, "first", ledger.commit(left), "VALID")
	expect(t, "second", ledger.commit(right), "MVCC_READ_CONFLICT")
}

func give(ledger *fakeLedger, caller identity, operation string, proposal ProposalAnswer) Consent {
	ledger.t.Helper()
	return submitted[Consent](ledger, caller, "GiveConsent", fields{
		"vin": proposal.Proposal.VIN, "operation": operation, "proposal_hash": proposal.ProposalHash,
	})
}

func TestATransferNeedsThoseItConcerns(t *testing.T) {
	ledger := newLedger(t)
	submitted[Title](ledger, registrar, "IssueTitle", titleOf(car))
	submitted[Lien](ledger, org3, "RegisterLien", lienOf(car))
	own := submitted[Lien](ledger, org1, "RegisterLien", lienOf(car))

	told := refused(ledger, registrar, "TransferTitle", nextOwner)
	expect(t, "reason", told.Reason, "CONSENT_MISSING")
	expect(t, "missing", told.Metadata["missing_msp_ids"], "Org1MSP,Org2MSP,Org3MSP")
	proposal := evaluated[ProposalAnswer](ledger, registrar, "GetProposal", nextOwner.with(fields{"operation": "TRANSFER_TITLE"}))
	expect(t, "hash", proposal.ProposalHash, told.Metadata["proposal_hash"])

	give(ledger, org1, "TRANSFER_TITLE", proposal)
	give(ledger, org2, "TRANSFER_TITLE", proposal)
	expect(t, "still missing", refused(ledger, registrar, "TransferTitle", nextOwner).Metadata["missing_msp_ids"], "Org3MSP")
	give(ledger, org3, "TRANSFER_TITLE", proposal)
	expect(t, "no registrar", refused(ledger, org1, "TransferTitle", nextOwner).Reason, "REGISTRAR_ONLY")
	// The consents are to this change, not to another one.
	expect(t, "another holder", refused(ledger, registrar, "TransferTitle", nextOwner.with(fields{"holder_hash": "k1:" + hash("thief")})).Reason, "CONSENT_MISSING")

	title := submitted[Title](ledger, registrar, "TransferTitle", nextOwner)
	expect(t, "holder", title.HolderMSPID, "Org2MSP")
	expect(t, "version", title.Version, 2)
	if want := []string{"title.transferred", "consent.used", "consent.used", "consent.used"}; !slices.Equal(ledger.lastChanges(), want) {
		t.Fatalf("changes %v", ledger.lastChanges())
	}
	expect(t, "the liens follow", evaluated[Lien](ledger, org1, "GetLien", fields{"registration_number": own.RegistrationNumber}).State, active)
	expect(t, "history", len(evaluated[titleHistory](ledger, org1, "GetTitleHistory", fields{"vin": car}).Entries), 2)
}

func TestALienThatSlipsInStopsATransfer(t *testing.T) {
	ledger := newLedger(t)
	submitted[Title](ledger, registrar, "IssueTitle", titleOf(car))
	proposal := evaluated[ProposalAnswer](ledger, registrar, "GetProposal", nextOwner.with(fields{"operation": "TRANSFER_TITLE"}))
	give(ledger, org2, "TRANSFER_TITLE", proposal)
	transfer := ledger.propose(registrar, "TransferTitle", nextOwner.json(), nil)
	submitted[Lien](ledger, org3, "RegisterLien", lienOf(car))
	expect(t, "transfer", ledger.commit(transfer), "PHANTOM_READ_CONFLICT")
	expect(t, "anew", refused(ledger, registrar, "TransferTitle", nextOwner).Metadata["missing_msp_ids"], "Org3MSP")
}

func TestASeizedCarIsNeitherTransferredNorPledgedFirst(t *testing.T) {
	ledger := newLedger(t)
	submitted[Title](ledger, registrar, "IssueTitle", titleOf(car))
	order := fields{
		"vin": car, "effect": "SEIZURE", "court_name": "南京市中级人民法院", "file_number": "(2026)苏01执123号", "order_date": "2026-11-20",
		"order_hash": hash("order"),
	}
	expect(t, "no registrar", refused(ledger, org1, "RegisterCourtOrder", order).Reason, "REGISTRAR_ONLY")
	one := submitted[CourtOrder](ledger, registrar, "RegisterCourtOrder", order)
	two := submitted[CourtOrder](ledger, registrar, "RegisterCourtOrder", order.with(fields{"file_number": "(2026)沪01执7号"}))
	seized := func(want bool) {
		t.Helper()
		for function, argument := range map[string]fields{
			"RegisterLien": firstLienOf(car), "ReservePriority": {"vin": car, "hold_seconds": 60}, "TransferTitle": nextOwner,
		} {
			caller := org2
			if function == "TransferTitle" {
				caller = registrar
			}
			ledger.now = ledger.now.Add(time.Second)
			transaction := ledger.propose(caller, function, argument.json(), nil)
			isSeized := transaction.response.GetStatus() != 200 && refusal(t, transaction).Reason == "VEHICLE_SEIZED"
			expect(t, function, isSeized, want)
		}
	}
	seized(true)
	lift := order.with(fields{"effect": "RELEASE_SEIZURE", "releases": one.CourtOrderID})
	submitted[CourtOrder](ledger, registrar, "RegisterCourtOrder", lift)
	seized(true)
	submitted[CourtOrder](ledger, registrar, "RegisterCourtOrder", lift.with(fields{"releases": two.CourtOrderID}))
	seized(false)
	expect(t, "orders", len(evaluated[courtOrderList](ledger, org2, "ListCourtOrders", fields{"vin": car}).CourtOrders), 4)
	for _, wrong := range []struct {
		change fields
		reason string
	}{
		{fields{"releases": newNumber(courtOrderNumber, "x", 0)}, "SEIZURE_UNKNOWN"},
		{fields{"releases": nil}, "SEIZURE_REQUIRED"},
		{fields{"effect": "SEIZURE"}, "SEIZURE_REQUIRED"},
		{fields{"court_name": "a\u202eb"}, "TEXT_CHARACTER"},
		{fields{"order_date": "2026-11-25"}, "DATE_AHEAD"},
	} {
		expect(t, "wrong order", refused(ledger, registrar, "RegisterCourtOrder", lift.with(wrong.change)).Reason, wrong.reason)
	}
}

func TestACourtDischargesALien(t *testing.T) {
	ledger := newLedger(t)
	lien := submitted[Lien](ledger, org2, "RegisterLien", firstLienOf(car))
	order := fields{
		"vin": car, "registration_number": lien.RegistrationNumber, "effect": "DISCHARGE", "court_name": "上海金融法院",
		"file_number": "(2026)沪74民初1号", "order_date": "2026-11-01", "order_hash": hash("order"),
	}
	expect(t, "another car", refused(ledger, registrar, "RegisterCourtOrder", order.with(fields{"vin": otherCar})).Reason, "OTHER_VEHICLE")
	expect(t, "no lien", refused(ledger, registrar, "RegisterCourtOrder", order.with(fields{"registration_number": nil})).Reason, "REGISTRATION_REQUIRED")
	submitted[CourtOrder](ledger, registrar, "RegisterCourtOrder", order)
	ended := evaluated[Lien](ledger, org1, "GetLien", fields{"registration_number": lien.RegistrationNumber})
	expect(t, "state", ended.State, discharged)
	expect(t, "reason", ended.DischargeReason, "COURT_ORDER")
	if want := []string{"court_order.registered", "lien.discharged"}; !slices.Equal(ledger.lastChanges(), want) {
		t.Fatalf("changes %v", ledger.lastChanges())
	}
	expect(t, "again", refused(ledger, registrar, "RegisterCourtOrder", order).Reason, "LIEN_NOT_ACTIVE")
}
