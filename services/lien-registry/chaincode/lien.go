package main

import (
	"time"
)

var lienClasses = map[string]bool{
	"MORTGAGE": true, "PURCHASE_MONEY": true, "PLEDGE": true, "POSSESSORY": true, "FINANCE_LEASE": true, "RETENTION_OF_TITLE": true,
}

type registerLien struct {
	DebtorHash       string `json:"debtor_hash"`
	DeliveryDate     string `json:"delivery_date"`
	DetailsHash      string `json:"details_hash"`
	ExpiresAt        string `json:"expires_at"`
	LienClass        string `json:"lien_class"`
	RequireFirstRank bool   `json:"require_first_rank"`
	SecuredAmount    string `json:"secured_amount"`
	SecuredCurrency  string `json:"secured_currency"`
	VIN              string `json:"vin"`
}

func (in *registerLien) check() error {
	if !lienClasses[in.LienClass] {
		return invalid("lien_class", "LIEN_CLASS_UNKNOWN", "no such class of lien")
	}
	if zeroPattern.MatchString(in.SecuredAmount) {
		return invalid("secured_amount", "AMOUNT_NOT_POSITIVE", "the secured amount must be positive")
	}
	if in.LienClass == "PURCHASE_MONEY" && in.DeliveryDate == "" {
		return invalid("delivery_date", "DELIVERY_DATE_REQUIRED", "purchase-money priority counts from the delivery (Civil Code 416)")
	}
	return first(
		match(vinPattern, "vin", in.VIN, "VIN_MALFORMED"),
		match(amountPattern, "secured_amount", in.SecuredAmount, "AMOUNT_MALFORMED"),
		match(currencyPattern, "secured_currency", in.SecuredCurrency, "CURRENCY_UNKNOWN"),
		match(hashPattern, "details_hash", in.DetailsHash, "HASH_MALFORMED"),
		match(debtorHashPattern, "debtor_hash", in.DebtorHash, "HASH_MALFORMED"),
		date("delivery_date", in.DeliveryDate),
		instant("expires_at", in.ExpiresAt),
	)
}

// RegisterLien appends a registration. Without require_first_rank it writes keys of its own only and conflicts with nothing.
func (m *MortgageAsset) RegisterLien(c ctx, argument string) (string, error) {
	var in registerLien
	if err := parse(argument, &in); err != nil {
		return "", err
	}
	if err := in.check(); err != nil {
		return "", err
	}
	at, err := transactionTime(c)
	if err != nil {
		return "", err
	}
	lien, err := m.register(c, &in, at, 0)
	if err != nil {
		return "", err
	}
	if err := emit(c, Change{Change: "lien.registered", Lien: lien, VIN: lien.VIN}); err != nil {
		return "", err
	}
	return answer(lien)
}

func (m *MortgageAsset) register(c ctx, in *registerLien, at time.Time, index int) (*Lien, error) {
	msp, err := callerMSP(c)
	if err != nil {
		return nil, err
	}
	lien := Lien{
		DebtorHash: in.DebtorHash, DeliveryDate: in.DeliveryDate, DetailsHash: in.DetailsHash, ExpiresAt: in.ExpiresAt, FirstRank: in.RequireFirstRank,
		LienClass: in.LienClass, RegisteredAt: rfc3339(at), RegistrationNumber: registrationNumber(c.GetStub().GetTxID(), index),
		SecuredAmount: in.SecuredAmount, SecuredCurrency: in.SecuredCurrency, SecuredPartyMSPID: msp, State: stateActive,
		TxID: c.GetStub().GetTxID(), VIN: in.VIN,
	}
	if in.ExpiresAt != "" && in.ExpiresAt <= lien.RegisteredAt {
		return nil, invalid("expires_at", "EXPIRES_AT_PAST", "a registration can't end before it begins")
	}
	if in.RequireFirstRank {
		if err := claimFirstRank(c, &lien, at); err != nil {
			return nil, err
		}
	}
	return &lien, first(write(c, lien, keyLien, lien.VIN, lien.RegistrationNumber), write(c, lien.VIN, keyNumber, lien.RegistrationNumber))
}

func find(c ctx, number string) (*Lien, error) {
	if err := match(numberPattern, "registration_number", number, "REGISTRATION_NUMBER_MALFORMED"); err != nil {
		return nil, err
	}
	var vin string
	if exists, err := read(c, &vin, keyNumber, number); err != nil {
		return nil, err
	} else if !exists {
		return nil, notFound("LIEN_NOT_FOUND", "no such registration")
	}
	var lien Lien
	if _, err := read(c, &lien, keyLien, vin, number); err != nil {
		return nil, err
	}
	return &lien, nil
}

type lienNumber struct {
	RegistrationNumber string `json:"registration_number"`
}

// GetLien returns one registration.
func (m *MortgageAsset) GetLien(c ctx, argument string) (string, error) {
	var in lienNumber
	if err := parse(argument, &in); err != nil {
		return "", err
	}
	lien, err := find(c, in.RegistrationNumber)
	if err != nil {
		return "", err
	}
	return answer(lien)
}

type dischargeLien struct {
	Reason             string `json:"reason"`
	RegistrationNumber string `json:"registration_number"`
}

// DischargeLien ends a registration and gives first rank back where it held it. Only the secured party's organisation may.
func (m *MortgageAsset) DischargeLien(c ctx, argument string) (string, error) {
	var in dischargeLien
	if err := parse(argument, &in); err != nil {
		return "", err
	}
	if err := match(codePattern, "reason", in.Reason, "REASON_MALFORMED"); err != nil {
		return "", err
	}
	at, err := transactionTime(c)
	if err != nil {
		return "", err
	}
	lien, err := find(c, in.RegistrationNumber)
	if err != nil {
		return "", err
	}
	if err := requireSecuredParty(c, lien); err != nil {
		return "", err
	}
	if lien.State != stateActive {
		return "", precondition("LIEN_NOT_ACTIVE", "this registration is discharged already", map[string]string{"state": lien.State})
	}
	lien.State, lien.DischargeReason, lien.DischargedAt = stateDischarged, in.Reason, rfc3339(at)
	if err := first(
		releaseFirstRank(c, lien),
		write(c, lien, keyLien, lien.VIN, lien.RegistrationNumber),
		emit(c, Change{Change: "lien.discharged", Lien: lien, VIN: lien.VIN}),
	); err != nil {
		return "", err
	}
	return answer(lien)
}
