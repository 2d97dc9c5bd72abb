package main

// Record types of the public state. Fields stand in alphabetic order, so that every endorser writes the same bytes.

const (
	stateActive     = "ACTIVE"
	stateDischarged = "DISCHARGED"
)

// Lien is the public record of one registration. Its rank by registration is (block, index in block), which a reader takes
// from the ledger itself and no client can choose.
type Lien struct {
	DebtorHash         string `json:"debtor_hash"`
	DeliveryDate       string `json:"delivery_date"`
	DetailsHash        string `json:"details_hash"`
	DischargeReason    string `json:"discharge_reason"`
	DischargedAt       string `json:"discharged_at"`
	ExpiresAt          string `json:"expires_at"`
	FirstRank          bool   `json:"first_rank"`
	LienClass          string `json:"lien_class"`
	RegisteredAt       string `json:"registered_at"`
	RegistrationNumber string `json:"registration_number"`
	SecuredAmount      string `json:"secured_amount"`
	SecuredCurrency    string `json:"secured_currency"`
	SecuredPartyMSPID  string `json:"secured_party_msp_id"`
	State              string `json:"state"`
	TxID               string `json:"tx_id"`
	VIN                string `json:"vin"`
}

// Title is the one title record of a car.
type Title struct {
	HolderHash                    string `json:"holder_hash"`
	HolderMSPID                   string `json:"holder_msp_id"`
	IssuedAt                      string `json:"issued_at"`
	RegistrationCertificateNumber string `json:"registration_certificate_number"`
	TxID                          string `json:"tx_id"`
	VIN                           string `json:"vin"`
}

// Slot says who holds first rank on a car. It is read and written only where first rank is claimed or given back.
type Slot struct {
	ExpiresAt          string `json:"expires_at"`
	MSPID              string `json:"msp_id"`
	RegistrationNumber string `json:"registration_number"`
}

// Change is one entry of a transaction's event.
type Change struct {
	Change string `json:"change"`
	Lien   *Lien  `json:"lien,omitempty"`
	Title  *Title `json:"title,omitempty"`
	VIN    string `json:"vin"`
}
