package registry

type amendArguments struct {
	RegistrationNumber            string `json:"registration_number"`
	Amendment                     string `json:"amendment"`
	SecuredAmount                 string `json:"secured_amount"`
	DebtorHash                    string `json:"debtor_hash"`
	DetailsHash                   string `json:"details_hash"`
	TransferRestrictionRegistered bool   `json:"transfer_restriction_registered"`
	ExternalRegistry              string `json:"external_registry"`
	ExternalCertificateNumber     string `json:"external_certificate_number"`
	ExternalStatus                string `json:"external_status"`
	PossessionEndedOn             string `json:"possession_ended_on"`
	VIN                           string `json:"vin"`
	RequireFirstRank              bool   `json:"require_first_rank"`
	ReservationID                 string `json:"reservation_id"`
}

// Kinds of amendments.
const (
	partialDischarge     = "PARTIAL_DISCHARGE"
	changeDebtor         = "DEBTOR"
	transferRestriction  = "TRANSFER_RESTRICTION"
	externalRegistry     = "EXTERNAL_REGISTRY"
	possessionEnded      = "POSSESSION_ENDED"
	addCollateral        = "ADD_COLLATERAL"
	substituteCollateral = "SUBSTITUTE_COLLATERAL"
)

var amendments = []string{
	partialDischarge, changeDebtor, transferRestriction, externalRegistry, possessionEnded, addCollateral, substituteCollateral,
}

func amendLien(c *call, asked amendArguments) (*Lien, error) {
	if err := asked.check(); err != nil {
		return nil, err
	}
	lien, err := c.ownLien(asked.RegistrationNumber)
	if err != nil {
		return nil, err
	}
	switch asked.Amendment {
	case partialDischarge:
		err = lien.lower(asked.SecuredAmount)
	case changeDebtor:
		err = c.changeDebtor(lien, asked.DebtorHash, asked.DetailsHash)
	case transferRestriction:
		lien.TransferRestrictionRegistered = asked.TransferRestrictionRegistered
	case externalRegistry:
		lien.ExternalRegistry, lien.ExternalCertificateNumber = asked.ExternalRegistry, asked.ExternalCertificateNumber
		lien.ExternalStatus = asked.ExternalStatus
	case possessionEnded:
		err = lien.endPossession(asked.PossessionEndedOn, c.today())
	case addCollateral, substituteCollateral:
		return c.moreCollateral(lien, asked)
	}
	if err != nil {
		return nil, err
	}
	return lien, c.changeLien(lien, "lien.amended", asked.Amendment, 0)
}

// check also refuses fields that the amendment doesn't use: nobody shall believe they had an effect.
func (a amendArguments) check() error {
	err := first(checkNumber("registration_number", lienNumber, a.RegistrationNumber), oneOf("amendment", a.Amendment, amendments...))
	rest := a
	rest.RegistrationNumber, rest.Amendment = "", ""
	switch a.Amendment {
	case partialDischarge:
		rest.SecuredAmount = ""
	case changeDebtor:
		rest.DebtorHash, rest.DetailsHash = "", ""
		err = first(err, checkKeyedHash("debtor_hash", a.DebtorHash), checkHash("details_hash", a.DetailsHash))
	case transferRestriction:
		rest.TransferRestrictionRegistered = false
	case externalRegistry:
		rest.ExternalRegistry, rest.ExternalCertificateNumber, rest.ExternalStatus = "", "", ""
		err = first(err, checkExternal(a.ExternalRegistry, a.ExternalCertificateNumber, a.ExternalStatus))
	case possessionEnded:
		rest.PossessionEndedOn = ""
		err = first(err, checkDate("possession_ended_on", a.PossessionEndedOn))
	case addCollateral, substituteCollateral:
		rest.VIN, rest.RequireFirstRank, rest.ReservationID = "", false, ""
		err = first(err, checkVIN(a.VIN), checkClaim(a.RequireFirstRank, a.ReservationID))
	}
	if err == nil && rest != (amendArguments{}) {
		err = invalid("amendment", "AMENDMENT_FIELDS", "The amendment doesn't use all of the fields that are set.")
	}
	return err
}

// lower allows a smaller amount only: a larger one would take a rank from those behind, so it is a registration of its own.
func (l *Lien) lower(to string) error {
	amount, err := parseAmount("secured_amount", to, l.Currency)
	if err != nil {
		return err
	}
	if compareAmounts(amount, l.SecuredAmount) >= 0 {
		return invalid("secured_amount", "AMOUNT_NOT_LOWER", "A partial discharge lowers the amount; a higher one is a new registration.")
	}
	l.SecuredAmount = amount
	return nil
}

func (c *call) changeDebtor(lien *Lien, debtorHash, detailsHash string) error {
	lien.DebtorHash, lien.DetailsHash = debtorHash, detailsHash
	return c.put(debtorEntry{lien.VIN, lien.RegistrationNumber}, debtorKey, debtorHash, lien.RegistrationNumber)
}

// endPossession notes the loss of possession, with which a possessory lien is lost (Civil Code 457).
func (l *Lien) endPossession(on, today string) error {
	if l.LienClass != possessory && l.LienClass != pledge {
		return precondition("NOT_POSSESSORY", "Only a pledge or a possessory lien depends on possession.")
	}
	if on > today {
		return invalid("possession_ended_on", "DATE_AHEAD", "The day lies ahead.")
	}
	l.PossessionEndedOn = on
	return nil
}

// moreCollateral registers the same claim on another car. A registration stays with one car, so that no key is shared by
// two; the new one ranks by its own time there. The claim is secured once, whatever the number of its registrations.
func (c *call) moreCollateral(base *Lien, asked amendArguments) (*Lien, error) {
	if asked.VIN == base.VIN {
		return nil, invalid("vin", "SAME_VEHICLE", "The car is the collateral already.")
	}
	if base.LienClass == possessory {
		return nil, precondition("POSSESSORY_BY_LAW", "A possessory lien arises by law, on the car that is kept.")
	}
	further := *base
	further.VIN, further.BaseRegistrationNumber = asked.VIN, base.RegistrationNumber
	further.FirstRank, further.Version, further.DeliveryDate = false, 0, ""
	// Another registry's certificate is about the car it names.
	further.ExternalRegistry, further.ExternalCertificateNumber, further.ExternalStatus = "", "", ""
	if further.LienClass == purchaseMoney {
		// The price was lent for the other car: only there does Art. 416 hold.
		further.LienClass = mortgage
	}
	if err := c.register(&further, asked.RequireFirstRank, asked.ReservationID, 0); err != nil {
		return nil, err
	}
	if asked.Amendment == addCollateral {
		return &further, nil
	}
	base.ReplacedBy = further.RegistrationNumber
	return &further, c.discharge(base, "SUBSTITUTED")
}

type renewArguments struct {
	RegistrationNumber string `json:"registration_number"`
	ExpiresAt          string `json:"expires_at"`
}

// renewLien moves the end of a registration that hasn't ended. Timestamps are the clients' choice within the skew, so a
// renewal could be dated before the end and ordered after a claim that already counted the registration as ended. It
// therefore reads the slot: such a claim, in whichever order, either shows in ClaimedAt or invalidates the renewal at commit.
func renewLien(c *call, asked renewArguments) (*Lien, error) {
	expiresAt, err := parseLater("expires_at", asked.ExpiresAt, c.at, "EXPIRES_AT_PAST")
	if err != nil {
		return nil, err
	}
	lien, err := c.ownLien(asked.RegistrationNumber)
	if err != nil {
		return nil, err
	}
	slot, err := c.slot(lien.VIN)
	if err != nil {
		return nil, err
	}
	if lien.ExpiresAt == "" || expiresAt <= lien.ExpiresAt {
		return nil, precondition("RENEWAL_NOT_LATER", "A renewal ends later than the registration does.")
	}
	if slot.ClaimedAt >= lien.ExpiresAt {
		return nil, precondition("LIEN_EXPIRED", "First rank was claimed after the registration had expired.", "registration_number", lien.RegistrationNumber)
	}
	lien.ExpiresAt = expiresAt
	return lien, c.changeLien(lien, "lien.renewed", "", 0)
}
