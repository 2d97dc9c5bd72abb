package registry

// States of a registration. Expiry is no state: the reader judges it against an as-of time.
const (
	active     = "ACTIVE"
	discharged = "DISCHARGED"
)

// Classes of security interests; the class decides which rule ranks it (Civil Code 414 to 416, 456).
const (
	mortgage         = "MORTGAGE"
	purchaseMoney    = "PURCHASE_MONEY"
	pledge           = "PLEDGE"
	possessory       = "POSSESSORY"
	financeLease     = "FINANCE_LEASE"
	retentionOfTitle = "RETENTION_OF_TITLE"
)

var lienClasses = []string{mortgage, purchaseMoney, pledge, possessory, financeLease, retentionOfTitle}

// Lien is one registration: one claim's security in one car. Registrations are never deleted, each change is a version.
type Lien struct {
	RegistrationNumber            string   `json:"registration_number"`
	BaseRegistrationNumber        string   `json:"base_registration_number"`
	VIN                           string   `json:"vin"`
	LienClass                     string   `json:"lien_class"`
	State                         string   `json:"state"`
	Version                       int      `json:"version"`
	SecuredAmount                 string   `json:"secured_amount"`
	Currency                      string   `json:"currency"`
	SecuredPartyMSPID             string   `json:"secured_party_msp_id"`
	ClaimID                       string   `json:"claim_id"`
	DetailsHash                   string   `json:"details_hash"`
	DebtorHash                    string   `json:"debtor_hash"`
	FirstRank                     bool     `json:"first_rank"`
	RegisteredAt                  string   `json:"registered_at"`
	TxID                          string   `json:"tx_id"`
	PriorityAt                    string   `json:"priority_at"`
	PriorityTxID                  string   `json:"priority_tx_id"`
	DeliveryDate                  string   `json:"delivery_date"`
	EvidenceHash                  string   `json:"evidence_hash"`
	PossessionEndedOn             string   `json:"possession_ended_on"`
	ExpiresAt                     string   `json:"expires_at"`
	TransferRestrictionRegistered bool     `json:"transfer_restriction_registered"`
	ExternalRegistry              string   `json:"external_registry"`
	ExternalCertificateNumber     string   `json:"external_certificate_number"`
	ExternalStatus                string   `json:"external_status"`
	SubordinatedTo                []string `json:"subordinated_to"`
	ReplacedBy                    string   `json:"replaced_by"`
	DischargeReason               string   `json:"discharge_reason"`
	DischargedAt                  string   `json:"discharged_at"`
	Change                        string   `json:"change"`
	Amendment                     string   `json:"amendment"`
	ChangedAt                     string   `json:"changed_at"`
	ChangedTxID                   string   `json:"changed_tx_id"`
}

// inForce tells whether the registration secures anything at an instant.
func (l *Lien) inForce(at string) bool { return l.State == active && !l.expired(at) }

func (l *Lien) expired(at string) bool { return l.ExpiresAt != "" && l.ExpiresAt <= at }

// requireInForce is asked before every change but the discharge: what has ended can't be changed back into force.
func (l *Lien) requireInForce(at string) error {
	if l.State != active {
		return precondition("LIEN_NOT_ACTIVE", "The registration is discharged.", "registration_number", l.RegistrationNumber)
	}
	if l.expired(at) {
		return precondition("LIEN_EXPIRED", "The registration has expired.", "registration_number", l.RegistrationNumber)
	}
	return nil
}

// lien finds a registration by its number.
func (c *call) lien(field, number string) (*Lien, error) {
	if err := checkNumber(field, lienNumber, number); err != nil {
		return nil, err
	}
	lien := &Lien{}
	vin, err := c.vinOf(number)
	if err != nil || vin == "" {
		return nil, first(err, errLienUnknown)
	}
	exists, err := c.get(lien, lienKey, vin, number)
	if err != nil || !exists {
		return nil, first(err, errLienUnknown)
	}
	return lien, nil
}

// ownLien finds a registration of the caller's organisation that is in force.
func (c *call) ownLien(number string) (*Lien, error) {
	lien, err := c.lien("registration_number", number)
	if err != nil {
		return nil, err
	}
	return lien, first(c.requireSecuredParty(lien), lien.requireInForce(c.at))
}

var errLienUnknown = notFound("LIEN_UNKNOWN", "There is no registration with this number.")

// vinOf tells under which car a number stands, empty when it is free.
func (c *call) vinOf(number string) (string, error) {
	var under struct {
		VIN string `json:"vin"`
	}
	_, err := c.get(&under, numberKey, number)
	return under.VIN, err
}

func (c *call) rememberVIN(number, vin string) error {
	return c.put(struct {
		VIN string `json:"vin"`
	}{vin}, numberKey, number)
}

// changeLien makes the next version of a registration.
func (c *call) changeLien(lien *Lien, change, amendment string, item int) error {
	lien.Version++
	lien.Change, lien.Amendment, lien.ChangedAt, lien.ChangedTxID = change, amendment, c.at, c.txID
	c.changed(Change{Change: change, VIN: lien.VIN, RegistrationNumber: lien.RegistrationNumber, Item: item, Lien: lien})
	return c.put(lien, lienKey, lien.VIN, lien.RegistrationNumber)
}

type dischargeArguments struct {
	RegistrationNumber string `json:"registration_number"`
	Reason             string `json:"reason"`
}

// dischargeLien ends a registration. The slot isn't touched: whoever claims first rank next sees that its holder has ended.
func dischargeLien(c *call, asked dischargeArguments) (*Lien, error) {
	if err := checkCode("reason", asked.Reason); err != nil {
		return nil, err
	}
	lien, err := c.lien("registration_number", asked.RegistrationNumber)
	if err != nil {
		return nil, err
	}
	if err := c.requireSecuredParty(lien); err != nil {
		return nil, err
	}
	return lien, c.discharge(lien, asked.Reason)
}

func (c *call) discharge(lien *Lien, reason string) error {
	if lien.State != active {
		return lien.requireInForce(c.at)
	}
	lien.State, lien.DischargeReason, lien.DischargedAt = discharged, reason, c.at
	return c.changeLien(lien, "lien.discharged", "", 0)
}
