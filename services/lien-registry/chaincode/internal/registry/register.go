package registry

type registerArguments struct {
	VIN                           string `json:"vin"`
	LienClass                     string `json:"lien_class"`
	SecuredAmount                 string `json:"secured_amount"`
	Currency                      string `json:"currency"`
	DetailsHash                   string `json:"details_hash"`
	DebtorHash                    string `json:"debtor_hash"`
	RequireFirstRank              bool   `json:"require_first_rank"`
	ReservationID                 string `json:"reservation_id"`
	DeliveryDate                  string `json:"delivery_date"`
	EvidenceHash                  string `json:"evidence_hash"`
	ExpiresAt                     string `json:"expires_at"`
	ClaimID                       string `json:"claim_id"`
	TransferRestrictionRegistered bool   `json:"transfer_restriction_registered"`
	ExternalRegistry              string `json:"external_registry"`
	ExternalCertificateNumber     string `json:"external_certificate_number"`
	ExternalStatus                string `json:"external_status"`
}

// lien checks the arguments, before any state is read, and makes the registration they ask for.
func (a registerArguments) lien(c *call) (*Lien, error) {
	err := first(
		checkVIN(a.VIN),
		oneOf("lien_class", a.LienClass, lienClasses...),
		checkHash("details_hash", a.DetailsHash),
		checkKeyedHash("debtor_hash", a.DebtorHash),
		optional(a.DeliveryDate, checkDate("delivery_date", a.DeliveryDate)),
		optional(a.EvidenceHash, checkHash("evidence_hash", a.EvidenceHash)),
		optional(a.ClaimID, checkDocument("claim_id", a.ClaimID)),
		checkExternal(a.ExternalRegistry, a.ExternalCertificateNumber, a.ExternalStatus),
		checkClaim(a.RequireFirstRank, a.ReservationID),
		a.checkEvidence(),
	)
	if err != nil {
		return nil, err
	}
	amount, err := parseAmount("secured_amount", a.SecuredAmount, a.Currency)
	if err != nil {
		return nil, err
	}
	expiresAt := ""
	if a.ExpiresAt != "" {
		if expiresAt, err = parseLater("expires_at", a.ExpiresAt, c.at, "EXPIRES_AT_PAST"); err != nil {
			return nil, err
		}
	}
	return &Lien{
		VIN:                           a.VIN,
		LienClass:                     a.LienClass,
		SecuredAmount:                 amount,
		Currency:                      a.Currency,
		ClaimID:                       a.ClaimID,
		DetailsHash:                   a.DetailsHash,
		DebtorHash:                    a.DebtorHash,
		DeliveryDate:                  a.DeliveryDate,
		EvidenceHash:                  a.EvidenceHash,
		ExpiresAt:                     expiresAt,
		TransferRestrictionRegistered: a.TransferRestrictionRegistered,
		ExternalRegistry:              a.ExternalRegistry,
		ExternalCertificateNumber:     a.ExternalCertificateNumber,
		ExternalStatus:                a.ExternalStatus,
	}, nil
}

// checkEvidence asks for what gives a class its better rank: without it the rank couldn't be judged later.
func (a registerArguments) checkEvidence() error {
	if a.LienClass == purchaseMoney && a.DeliveryDate == "" {
		return invalid("delivery_date", "DELIVERY_DATE_REQUIRED", "Purchase-money priority counts ten days from the delivery (Civil Code 416).")
	}
	if a.LienClass == possessory && a.EvidenceHash == "" {
		return invalid("evidence_hash", "EVIDENCE_REQUIRED", "A possessory lien names its evidence (Civil Code 447, 456).")
	}
	return nil
}

func checkClaim(requireFirstRank bool, reservationID string) error {
	if reservationID == "" {
		return nil
	}
	if !requireFirstRank {
		return invalid("reservation_id", "RESERVATION_WITHOUT_CLAIM", "A reservation is used by claiming first rank.")
	}
	return checkNumber("reservation_id", reservationNumber, reservationID)
}

func checkExternal(registry, certificate, status string) error {
	return first(
		optional(registry, oneOf("external_registry", registry, "PSB_VEHICLE", "ZHONGDENG", "OTHER")),
		optional(certificate, checkDocument("external_certificate_number", certificate)),
		optional(status, checkCode("external_status", status)),
	)
}

func registerLien(c *call, asked registerArguments) (*Lien, error) {
	lien, err := asked.lien(c)
	if err != nil {
		return nil, err
	}
	return lien, c.register(lien, asked.RequireFirstRank, asked.ReservationID, 0)
}

// register puts a new registration on the ledger. Without a claim to first rank it reads nothing that another registration
// writes, so it can't conflict with one: it simply stands behind what the ledger ordered before it.
func (c *call) register(lien *Lien, claims bool, reservationID string, item int) error {
	number := newNumber(lienNumber, c.txID, item)
	// Nobody hits a taken number by chance. Read all the same: it costs little and makes overwriting impossible.
	if taken, err := c.vinOf(number); err != nil || taken != "" {
		return first(err, duplicate("NUMBER_TAKEN", "The registration's number is taken; send a new transaction."))
	}
	lien.RegistrationNumber, lien.State, lien.SubordinatedTo = number, active, []string{}
	lien.SecuredPartyMSPID = c.mspID
	lien.RegisteredAt, lien.TxID = c.at, c.txID
	lien.PriorityAt, lien.PriorityTxID = c.at, c.txID
	if claims {
		if err := c.claimFirstRank(lien, reservationID); err != nil {
			return err
		}
	}
	c.registered[lien.VIN] = number
	return first(
		c.rememberVIN(number, lien.VIN),
		c.put(debtorEntry{lien.VIN, number}, debtorKey, lien.DebtorHash, number),
		c.changeLien(lien, "lien.registered", "", item),
	)
}

// debtorEntry leads from a debtor's keyed hash to a registration; each registration writes its own.
type debtorEntry struct {
	VIN                string `json:"vin"`
	RegistrationNumber string `json:"registration_number"`
}
