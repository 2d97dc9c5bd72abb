package main

import (
	"encoding/json"
	"time"
)

// claimFirstRank takes the car's slot for a lien, or refuses with FIRST_RANK_TAKEN.
//
// Two claims of one car both read and write its slot: the ledger's version check lets one of them through. A lien that claims
// nothing does not touch the slot; it is found by the range read over the car's registrations, which the ledger validates
// against phantoms: one that slips in before the claim commits makes the claim fail and be endorsed anew.
func claimFirstRank(c ctx, lien *Lien, at time.Time) error {
	now := rfc3339(at)
	var slot Slot
	held, err := read(c, &slot, keySlot, lien.VIN)
	if err != nil {
		return err
	}
	if held && (slot.ExpiresAt == "" || slot.ExpiresAt > now) {
		return firstRankTaken(slot.RegistrationNumber)
	}
	earlier, err := activeLienOf(c, lien.VIN, now)
	if err != nil {
		return err
	}
	if earlier != "" {
		return firstRankTaken(earlier)
	}
	return write(c, Slot{ExpiresAt: lien.ExpiresAt, MSPID: lien.SecuredPartyMSPID, RegistrationNumber: lien.RegistrationNumber}, keySlot, lien.VIN)
}

func firstRankTaken(number string) error {
	return precondition("FIRST_RANK_TAKEN", "another registration of this car precedes", map[string]string{"registration_number": number})
}

// activeLienOf returns the number of a registration of the car in force at that time, or nothing.
func activeLienOf(c ctx, vin, now string) (string, error) {
	registrations, err := c.GetStub().GetStateByPartialCompositeKey(keyLien, []string{vin})
	if err != nil {
		return "", err
	}
	defer registrations.Close()
	for registrations.HasNext() {
		entry, err := registrations.Next()
		if err != nil {
			return "", err
		}
		var lien Lien
		if err := json.Unmarshal(entry.Value, &lien); err != nil {
			return "", err
		}
		if lien.State == stateActive && (lien.ExpiresAt == "" || lien.ExpiresAt > now) {
			return lien.RegistrationNumber, nil
		}
	}
	return "", nil
}

// releaseFirstRank frees the car's slot where this lien holds it.
func releaseFirstRank(c ctx, lien *Lien) error {
	if !lien.FirstRank {
		return nil
	}
	var slot Slot
	held, err := read(c, &slot, keySlot, lien.VIN)
	if err != nil || !held || slot.RegistrationNumber != lien.RegistrationNumber {
		return err
	}
	return remove(c, keySlot, lien.VIN)
}
