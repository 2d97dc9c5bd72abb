package registry

import (
	"fmt"
	"testing"
	"time"
)

func TestFirstRankIsTakenOnce(t *testing.T) {
	ledger := newLedger(t)
	holder := submitted[Lien](ledger, org1, "RegisterLien", firstLienOf(car))
	for _, caller := range []identity{org1, org2} {
		told := refused(ledger, caller, "RegisterLien", firstLienOf(car))
		expect(t, "reason", told.Reason, "FIRST_RANK_TAKEN")
		expect(t, "holder", told.Metadata["registration_number"], holder.RegistrationNumber)
	}
	second := submitted[Lien](ledger, org2, "RegisterLien", lienOf(car))
	expect(t, "second lien", second.FirstRank, false)
	expect(t, "other car", submitted[Lien](ledger, org2, "RegisterLien", firstLienOf(otherCar)).FirstRank, true)
	expect(t, "holder", evaluated[Priority](ledger, org2, "GetPriority", fields{"vin": car}).RegistrationNumber, holder.RegistrationNumber)

	submitted[Lien](ledger, org1, "DischargeLien", fields{"registration_number": holder.RegistrationNumber, "reason": "PAID_OFF"})
	told := refused(ledger, org1, "RegisterLien", firstLienOf(car))
	expect(t, "the second lien precedes now", told.Metadata["registration_number"], second.RegistrationNumber)
	submitted[Lien](ledger, org2, "DischargeLien", fields{"registration_number": second.RegistrationNumber, "reason": "PAID_OFF"})
	expect(t, "free", evaluated[Priority](ledger, org2, "GetPriority", fields{"vin": car}).State, "FREE")
	expect(t, "claimed anew", submitted[Lien](ledger, org2, "RegisterLien", firstLienOf(car)).FirstRank, true)
}

func TestFirstRankIsRefusedBehindAnOrdinaryLien(t *testing.T) {
	ledger := newLedger(t)
	ordinary := submitted[Lien](ledger, org2, "RegisterLien", lienOf(car))
	told := refused(ledger, org1, "RegisterLien", firstLienOf(car))
	expect(t, "reason", told.Reason, "FIRST_RANK_TAKEN")
	expect(t, "who", told.Metadata["registration_number"], ordinary.RegistrationNumber)
}

// The races: both run on the same state, then both are ordered.
func TestRacesForFirstRank(t *testing.T) {
	ordinary, claim := lienOf(car), firstLienOf(car)
	for _, race := range []struct {
		name          string
		first, second fields
		outcome       string
	}{
		{"two claims", claim, claim, "MVCC_READ_CONFLICT"},
		{"an ordinary lien slips in before a claim", ordinary, claim, "PHANTOM_READ_CONFLICT"},
		{"an ordinary lien comes after a claim", claim, ordinary, "VALID"},
		{"two ordinary liens", ordinary, ordinary, "VALID"},
	} {
		t.Run(race.name, func(t *testing.T) {
			ledger := newLedger(t)
			left := ledger.propose(org1, "RegisterLien", race.first.json(), nil)
			right := ledger.propose(org2, "RegisterLien", race.second.json(), nil)
			expect(t, "first", ledger.commit(left), "VALID")
			expect(t, "second", ledger.commit(right), race.outcome)
		})
	}
}

func TestAClaimConflictsWithNothingOnOtherCars(t *testing.T) {
	ledger := newLedger(t)
	claims := []*endorsed{}
	for at := range 50 {
		vin := fmt.Sprintf("LSVAG2180E21%05d", at)
		claims = append(claims, ledger.propose(org1, "RegisterLien", firstLienOf(vin).json(), nil))
		claims = append(claims, ledger.propose(org2, "RegisterLien", lienOf("LSVAG2180E2199999").json(), nil))
	}
	for _, claim := range claims {
		expect(t, "outcome", ledger.commit(claim), "VALID")
	}
}

func TestADischargeFreesFirstRankWithoutTouchingTheSlot(t *testing.T) {
	ledger := newLedger(t)
	holder := submitted[Lien](ledger, org1, "RegisterLien", firstLienOf(car))
	ending := ledger.propose(org1, "DischargeLien", fields{"registration_number": holder.RegistrationNumber, "reason": "PAID_OFF"}.json(), nil)
	slot, _ := ending.stub.CreateCompositeKey(slotKey, []string{car})
	if _, reads := ending.stub.reads[slot]; reads {
		t.Fatal("a discharge reads the slot")
	}
	if _, writes := ending.stub.writes[slot]; writes {
		t.Fatal("a discharge writes the slot")
	}
}

func TestAReservationHoldsFirstRankUntilItExpires(t *testing.T) {
	ledger := newLedger(t)
	reserve := fields{"vin": car, "hold_seconds": 300}
	reservation := submitted[Reservation](ledger, org1, "ReservePriority", reserve)
	expect(t, "expires", reservation.ExpiresAt, instant(ledger.now.Add(5*time.Minute)))
	told := refused(ledger, org2, "RegisterLien", firstLienOf(car))
	expect(t, "claim", told.Reason, "FIRST_RANK_TAKEN")
	expect(t, "by", told.Metadata["reservation_id"], reservation.ReservationID)
	expect(t, "second reservation", refused(ledger, org2, "ReservePriority", reserve).Reason, "FIRST_RANK_TAKEN")
	expect(t, "own second reservation", refused(ledger, org1, "ReservePriority", reserve).Reason, "FIRST_RANK_TAKEN")
	expect(t, "state", evaluated[Priority](ledger, org2, "GetPriority", fields{"vin": car}).State, "RESERVED")

	// What is registered meanwhile is lawful and stands behind.
	behind := submitted[Lien](ledger, org2, "RegisterLien", lienOf(car))
	wrong := firstLienOf(car).with(fields{"reservation_id": newNumber(reservationNumber, "other", 0)})
	expect(t, "another reservation", refused(ledger, org1, "RegisterLien", wrong).Reason, "FIRST_RANK_TAKEN")
	lien := submitted[Lien](ledger, org1, "RegisterLien", firstLienOf(car).with(fields{"reservation_id": reservation.ReservationID}))
	expect(t, "rank from", lien.PriorityTxID, reservation.TxID)
	if lien.PriorityAt >= behind.PriorityAt {
		t.Fatal("the reserved lien ranks behind")
	}

	ledger.now = ledger.now.Add(time.Hour)
	expect(t, "used up", refused(ledger, org2, "RegisterLien", firstLienOf(car)).Metadata["registration_number"], lien.RegistrationNumber)
}

func TestAnExpiredReservationHoldsNothing(t *testing.T) {
	ledger := newLedger(t)
	reservation := submitted[Reservation](ledger, org1, "ReservePriority", fields{"vin": car, "hold_seconds": 60})
	ledger.now = ledger.now.Add(time.Minute)
	late := ledger.propose(org1, "RegisterLien", firstLienOf(car).with(fields{"reservation_id": reservation.ReservationID}).json(), nil)
	rival := submitted[Lien](ledger, org2, "RegisterLien", firstLienOf(car))
	expect(t, "late", ledger.commit(late), "MVCC_READ_CONFLICT")
	told := refused(ledger, org1, "RegisterLien", firstLienOf(car).with(fields{"reservation_id": reservation.ReservationID}))
	expect(t, "rival", told.Metadata["registration_number"], rival.RegistrationNumber)
	expect(t, "release", refused(ledger, org1, "ReleasePriority", fields{"vin": car, "reservation_id": reservation.ReservationID}).Reason, "RESERVATION_UNKNOWN")
}

func TestAReservationIsReleasedByItsHolderOnly(t *testing.T) {
	ledger := newLedger(t)
	reservation := submitted[Reservation](ledger, org1, "ReservePriority", fields{"vin": car, "hold_seconds": 3600})
	release := fields{"vin": car, "reservation_id": reservation.ReservationID}
	expect(t, "another org", refused(ledger, org2, "ReleasePriority", release).Kind, Denied)
	expect(t, "released", submitted[Reservation](ledger, org1, "ReleasePriority", release).State, released)
	expect(t, "free", submitted[Lien](ledger, org2, "RegisterLien", firstLienOf(car)).FirstRank, true)
	for _, seconds := range []int{0, 59, 3601, -1} {
		expect(t, "length", refused(ledger, org1, "ReservePriority", fields{"vin": otherCar, "hold_seconds": seconds}).Reason, "HOLD_SECONDS")
	}
}

// A renewal dated before the end, by a client whose clock is slow, must not revive what a claim has counted as ended.
func TestARenewalDoesNotReviveWhatAClaimCountedAsEnded(t *testing.T) {
	for _, claimed := range []fields{lienOf(car), firstLienOf(car)} {
		ledger := newLedger(t)
		end := ledger.now.Add(time.Hour)
		lien := submitted[Lien](ledger, org1, "RegisterLien", claimed.with(fields{"expires_at": instant(end)}))
		ledger.now = end.Add(time.Second)
		renew := fields{"registration_number": lien.RegistrationNumber, "expires_at": "2030-01-01T00:00:00Z"}.json()
		slow := func() *endorsed {
			return ledger.proposeRaw(org1, [][]byte{[]byte("RenewLien"), []byte(renew)}, nil, end.Add(-time.Second))
		}
		before, claim := slow(), ledger.propose(org2, "RegisterLien", firstLienOf(car).json(), nil)
		expect(t, "claim", ledger.commit(claim), "VALID")
		expect(t, "endorsed before, ordered after", ledger.commit(before), "MVCC_READ_CONFLICT")
		expect(t, "endorsed after", refusal(t, slow()).Reason, "LIEN_EXPIRED")

		// The other order: the renewal counts, the claim must be judged anew.
		ledger = newLedger(t)
		lien = submitted[Lien](ledger, org1, "RegisterLien", claimed.with(fields{"expires_at": instant(end)}))
		ledger.now = end.Add(time.Second)
		renew = fields{"registration_number": lien.RegistrationNumber, "expires_at": "2030-01-01T00:00:00Z"}.json()
		claim, before = ledger.propose(org2, "RegisterLien", firstLienOf(car).json(), nil), slow()
		expect(t, "renewal", ledger.commit(before), "VALID")
		expect(t, "claim", ledger.commit(claim), "PHANTOM_READ_CONFLICT")
		expect(t, "claim anew", refused(ledger, org2, "RegisterLien", firstLienOf(car)).Metadata["registration_number"], lien.RegistrationNumber)
	}
}

func TestAnExpiredHolderMakesRoom(t *testing.T) {
	ledger := newLedger(t)
	submitted[Lien](ledger, org1, "RegisterLien", firstLienOf(car).with(fields{"expires_at": instant(ledger.now.Add(time.Hour))}))
	ledger.now = ledger.now.Add(time.Hour)
	expect(t, "claimed", submitted[Lien](ledger, org2, "RegisterLien", firstLienOf(car)).FirstRank, true)
}
