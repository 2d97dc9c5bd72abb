package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

const transientDetails = "details"

// StoreDetails puts the private details of a registration into the caller's own organisation's collection. It is endorsed by
// that organisation alone: transient data must not reach another's peer. The details must have the hash that is on the ledger.
func (m *MortgageAsset) StoreDetails(c ctx, argument string) (string, error) {
	var in lienNumber
	if err := parse(argument, &in); err != nil {
		return "", err
	}
	lien, err := find(c, in.RegistrationNumber)
	if err != nil {
		return "", err
	}
	if err := requireSecuredParty(c, lien); err != nil {
		return "", err
	}
	transient, err := c.GetStub().GetTransient()
	if err != nil {
		return "", err
	}
	details := transient[transientDetails]
	if len(details) == 0 || len(details) > maxArgument {
		return "", invalid("details", "DETAILS_MISSING", "the transient field details must hold the private details")
	}
	sum := sha256.Sum256(details)
	if hex.EncodeToString(sum[:]) != lien.DetailsHash {
		return "", invalid("details", "DETAILS_HASH", "the details do not have the hash of this registration")
	}
	return "", c.GetStub().PutPrivateData(ownCollection(lien.SecuredPartyMSPID), lien.RegistrationNumber, details)
}

// GetDetails returns the private details of a registration of the caller's own organisation.
func (m *MortgageAsset) GetDetails(c ctx, argument string) (string, error) {
	var in lienNumber
	if err := parse(argument, &in); err != nil {
		return "", err
	}
	lien, err := find(c, in.RegistrationNumber)
	if err != nil {
		return "", err
	}
	if err := requireSecuredParty(c, lien); err != nil {
		return "", err
	}
	details, err := c.GetStub().GetPrivateData(ownCollection(lien.SecuredPartyMSPID), lien.RegistrationNumber)
	if err != nil {
		return "", err
	}
	if details == nil {
		return "", notFound("DETAILS_NOT_FOUND", "the details of this registration are not stored yet")
	}
	return string(json.RawMessage(details)), nil
}

func ownCollection(msp string) string { return "_implicit_org_" + msp }
