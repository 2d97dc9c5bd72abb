package registry

import (
	"testing"
	"time"
)

func TestAssignmentCarriesTheClaimAndNeedsTheAssignee(t *testing.T) {
	ledger := newLedger(t)
	lien := submitted[Lien](ledger, org1, "RegisterLien", firstLienOf(car).with(fields{"claim_id": "LOAN-1"}))
	assign := fields{"registration_number": lien.RegistrationNumber, "claim_id": "LOAN-1", "assignee_msp_id": "Org2MSP"}
	expect(t, "without the claim", refused(ledger, org1, "AssignLien", assign.with(fields{"claim_id": nil})).Kind, Invalid)
	expect(t, "another claim", refused(ledger, org1, "AssignLien", assign.with(fields{"claim_id": "LOAN-2"})).Reason, "CLAIM_MISMATCH")
	expect(t, "to itself", refused(ledger, org1, "AssignLien", assign.with(fields{"assignee_msp_id": "Org1MSP"})).Reason, "ASSIGNEE_IS_HOLDER")
	expect(t, "unasked", refused(ledger, org1, "AssignLien", assign).Metadata["missing_msp_ids"], "Org2MSP")

	proposal := evaluated[ProposalAnswer](ledger, org1, "GetProposal", assign.with(fields{"operation": "ASSIGN"}))
	give(ledger, org2, "ASSIGN", proposal)
	assigned := submitted[Lien](ledger, org1, "AssignLien", assign)
	expect(t, "holder", assigned.SecuredPartyMSPID, "Org2MSP")
	expect(t, "rank", assigned.FirstRank, true)
	number := fields{"registration_number": lien.RegistrationNumber, "reason": "PAID_OFF"}
	expect(t, "the assignor lost it", refused(ledger, org1, "DischargeLien", number).Reason, "NOT_SECURED_PARTY")
	submitted[Lien](ledger, org2, "DischargeLien", number)
}

func TestAConsentIsForOneChangeOnce(t *testing.T) {
	ledger := newLedger(t)
	lien := submitted[Lien](ledger, org1, "RegisterLien", lienOf(car))
	assign := fields{"registration_number": lien.RegistrationNumber, "claim_id": "LOAN-1", "assignee_msp_id": "Org2MSP"}
	ask := func() ProposalAnswer {
		t.Helper()
		return evaluated[ProposalAnswer](ledger, org1, "GetProposal", assign.with(fields{"operation": "ASSIGN"}))
	}
	proposal := ask()
	consent := fields{"vin": car, "operation": "ASSIGN", "proposal_hash": proposal.ProposalHash}
	withdraw := consent.with(fields{"operation": nil})
	expect(t, "nothing to withdraw", refused(ledger, org2, "WithdrawConsent", withdraw).Reason, "CONSENT_UNKNOWN")
	submitted[Consent](ledger, org3, "GiveConsent", consent)
	expect(t, "another's consent", refused(ledger, org1, "AssignLien", assign).Reason, "CONSENT_MISSING")
	submitted[Consent](ledger, org2, "GiveConsent", consent)
	expect(t, "twice", refused(ledger, org2, "GiveConsent", consent).Reason, "CONSENT_GIVEN")
	submitted[Consent](ledger, org2, "WithdrawConsent", withdraw)
	expect(t, "withdrawn", ask().Consents[0].State, "WITHDRAWN")
	expect(t, "withdrawn", refused(ledger, org1, "AssignLien", assign).Reason, "CONSENT_MISSING")
	expect(t, "withdrawn twice", refused(ledger, org2, "WithdrawConsent", withdraw).Reason, "CONSENT_NOT_GIVEN")

	submitted[Consent](ledger, org2, "GiveConsent", consent.with(fields{"expires_at": instant(ledger.now.Add(time.Minute))}))
	ledger.now = ledger.now.Add(time.Hour)
	expect(t, "expired", ask().Consents[0].State, "EXPIRED")
	expect(t, "expired", refused(ledger, org1, "AssignLien", assign).Reason, "CONSENT_MISSING")
	submitted[Consent](ledger, org2, "GiveConsent", consent)
	expect(t, "given", ask().Consents[0].State, "GIVEN")

	// The lien changes: what was consented to is no longer what would be done.
	submitted[Lien](ledger, org1, "AmendLien", fields{"registration_number": lien.RegistrationNumber, "amendment": "PARTIAL_DISCHARGE", "secured_amount": "5"})
	expect(t, "another version", refused(ledger, org1, "AssignLien", assign).Reason, "CONSENT_MISSING")
	proposal = ask()
	consent = consent.with(fields{"proposal_hash": proposal.ProposalHash})
	submitted[Consent](ledger, org2, "GiveConsent", consent)
	submitted[Lien](ledger, org1, "AssignLien", assign)
	expect(t, "used", refused(ledger, org2, "GiveConsent", consent).Reason, "CONSENT_USED")
	list := evaluated[consentList](ledger, org1, "ListConsents", fields{"vin": car}).Consents
	states := map[string]int{}
	for _, recorded := range list {
		states[recorded.State]++
	}
	expect(t, "used", states["USED"], 1)
	expect(t, "not used", states["GIVEN"], 2)
}

func TestAConsentWithdrawnMeanwhileIsNotUsed(t *testing.T) {
	ledger := newLedger(t)
	lien := submitted[Lien](ledger, org1, "RegisterLien", lienOf(car))
	assign := fields{"registration_number": lien.RegistrationNumber, "claim_id": "LOAN-1", "assignee_msp_id": "Org2MSP"}
	proposal := evaluated[ProposalAnswer](ledger, org1, "GetProposal", assign.with(fields{"operation": "ASSIGN"}))
	give(ledger, org2, "ASSIGN", proposal)
	assignment := ledger.propose(org1, "AssignLien", assign.json(), nil)
	submitted[Consent](ledger, org2, "WithdrawConsent", fields{"vin": car, "proposal_hash": proposal.ProposalHash})
	expect(t, "assignment", ledger.commit(assignment), "MVCC_READ_CONFLICT")
}

func TestSubordinationAsksWhomItHarms(t *testing.T) {
	ledger := newLedger(t)
	register := func(caller identity, amount string, change fields) Lien {
		t.Helper()
		ledger.now = ledger.now.Add(5 * time.Minute)
		return submitted[Lien](ledger, caller, "RegisterLien", lienOf(car).with(fields{"secured_amount": amount}).with(change))
	}
	before := register(org3, "10000", nil)
	small := register(org1, "50000", nil)
	between := register(org3, "70000", nil)
	large := register(org2, "90000", nil)
	after := register(org3, "5", nil)
	keeper := register(newIdentity("Org4MSP", ""), "1", fields{"lien_class": "POSSESSORY", "evidence_hash": hash("repair order")})
	step := func(back, forward Lien) fields {
		return fields{"registration_number": back.RegistrationNumber, "senior_registration_number": forward.RegistrationNumber}
	}
	missing := func(caller identity, argument fields) string {
		t.Helper()
		return refused(ledger, caller, "SubordinateLien", argument).Metadata["missing_msp_ids"]
	}
	needs := func(caller identity, argument fields) int {
		t.Helper()
		return len(evaluated[ProposalAnswer](ledger, caller, "GetProposal", argument.with(fields{"operation": "SUBORDINATE"})).Consents)
	}
	// A larger amount comes before the one in between: it is harmed. Those before both, behind both and the keeper aren't.
	expect(t, "between", missing(org1, step(small, large)), "Org3MSP")
	submitted[Lien](ledger, org3, "DischargeLien", fields{"registration_number": between.RegistrationNumber, "reason": "PAID_OFF"})
	expect(t, "nobody between", needs(org1, step(small, large)), 0)
	// The smaller one comes forward: nobody has more before him than he had.
	expect(t, "smaller", needs(org2, step(large, small)), 0)
	expect(t, "the keeper is first anyway", needs(org3, step(after, keeper)), 0)

	done := submitted[Lien](ledger, org1, "SubordinateLien", step(small, large))
	expect(t, "behind", done.SubordinatedTo[0], large.RegistrationNumber)
	expect(t, "circular", refused(ledger, org2, "SubordinateLien", step(large, small)).Reason, "CIRCULAR_PRIORITY")
	expect(t, "again", refused(ledger, org1, "SubordinateLien", step(small, large)).Reason, "SUBORDINATED")
	expect(t, "itself", refused(ledger, org1, "SubordinateLien", step(small, small)).Reason, "NOT_ANOTHER_ON_THE_CAR")

	// A circle of three: small behind large, large behind before, before behind small.
	proposal := evaluated[ProposalAnswer](ledger, org2, "GetProposal", step(large, before).with(fields{"operation": "SUBORDINATE"}))
	for _, consent := range proposal.Consents {
		give(ledger, map[string]identity{"Org1MSP": org1, "Org3MSP": org3}[consent.MSPID], "SUBORDINATE", proposal)
	}
	submitted[Lien](ledger, org2, "SubordinateLien", step(large, before))
	expect(t, "circle of three", refused(ledger, org3, "SubordinateLien", step(before, small)).Reason, "CIRCULAR_PRIORITY")
}

func TestInDoubtSubordinationAsks(t *testing.T) {
	ledger := newLedger(t)
	// Timestamps closer than the clock skew don't tell the order.
	small := submitted[Lien](ledger, org1, "RegisterLien", lienOf(car).with(fields{"secured_amount": "1"}))
	large := submitted[Lien](ledger, org2, "RegisterLien", lienOf(car))
	submitted[Lien](ledger, org3, "RegisterLien", lienOf(car))
	step := fields{"registration_number": small.RegistrationNumber, "senior_registration_number": large.RegistrationNumber}
	expect(t, "within the skew", refused(ledger, org1, "SubordinateLien", step).Metadata["missing_msp_ids"], "Org3MSP")
	// Nor do they where a class ranks by another rule.
	ledger.now = ledger.now.Add(time.Hour)
	submitted[Lien](ledger, newIdentity("Org4MSP", ""), "RegisterLien", lienOf(car).with(fields{"lien_class": "PURCHASE_MONEY", "delivery_date": "2026-11-20"}))
	expect(t, "purchase money", refused(ledger, org1, "SubordinateLien", step).Metadata["missing_msp_ids"], "Org3MSP,Org4MSP")
}
