package registry

const (
	open     = "OPEN"
	upheld   = "UPHELD"
	rejected = "REJECTED"
)

// Dispute is an objection to what is registered, or a demand to change it. It is a warning to readers and changes no rank:
// only the secured party or a court order does.
type Dispute struct {
	DisputeID          string `json:"dispute_id"`
	VIN                string `json:"vin"`
	RegistrationNumber string `json:"registration_number"`
	Kind               string `json:"kind"`
	StatementHash      string `json:"statement_hash"`
	State              string `json:"state"`
	OpenedByMSPID      string `json:"opened_by_msp_id"`
	OpenedAt           string `json:"opened_at"`
	TxID               string `json:"tx_id"`
	ResolutionHash     string `json:"resolution_hash"`
	ResolvedByMSPID    string `json:"resolved_by_msp_id"`
	ResolvedAt         string `json:"resolved_at"`
	ResolvedTxID       string `json:"resolved_tx_id"`
}

type openArguments struct {
	VIN                string `json:"vin"`
	RegistrationNumber string `json:"registration_number"`
	Kind               string `json:"kind"`
	StatementHash      string `json:"statement_hash"`
}

func openDispute(c *call, asked openArguments) (*Dispute, error) {
	err := first(
		checkVIN(asked.VIN),
		oneOf("kind", asked.Kind, "OBJECTION", "CHANGE_DEMAND"),
		checkHash("statement_hash", asked.StatementHash),
	)
	if err != nil {
		return nil, err
	}
	if asked.RegistrationNumber != "" {
		if _, err := c.lienOn(asked.VIN, asked.RegistrationNumber); err != nil {
			return nil, err
		}
	}
	dispute := &Dispute{
		DisputeID: newNumber(disputeNumber, c.txID, 0), VIN: asked.VIN, RegistrationNumber: asked.RegistrationNumber,
		Kind: asked.Kind, StatementHash: asked.StatementHash, State: open, OpenedByMSPID: c.mspID, OpenedAt: c.at, TxID: c.txID,
	}
	return dispute, first(c.rememberVIN(dispute.DisputeID, dispute.VIN), c.putDispute(dispute, "dispute.opened"))
}

func (c *call) putDispute(dispute *Dispute, change string) error {
	c.changed(Change{Change: change, VIN: dispute.VIN, RegistrationNumber: dispute.RegistrationNumber, Dispute: dispute})
	return c.put(dispute, disputeKey, dispute.VIN, dispute.DisputeID)
}

type disputeArguments struct {
	DisputeID string `json:"dispute_id"`
}

func getDispute(c *call, asked disputeArguments) (*Dispute, error) {
	if err := checkNumber("dispute_id", disputeNumber, asked.DisputeID); err != nil {
		return nil, err
	}
	dispute := &Dispute{}
	vin, err := c.vinOf(asked.DisputeID)
	if err != nil || vin == "" {
		return nil, first(err, errDisputeUnknown)
	}
	exists, err := c.get(dispute, disputeKey, vin, asked.DisputeID)
	if err != nil || !exists {
		return nil, first(err, errDisputeUnknown)
	}
	return dispute, nil
}

var errDisputeUnknown = notFound("DISPUTE_UNKNOWN", "There is no dispute with this number.")

type resolveArguments struct {
	DisputeID      string `json:"dispute_id"`
	Resolution     string `json:"resolution"`
	ResolutionHash string `json:"resolution_hash"`
}

func resolveDispute(c *call, asked resolveArguments) (*Dispute, error) {
	err := first(oneOf("resolution", asked.Resolution, upheld, rejected, withdrawn), checkHash("resolution_hash", asked.ResolutionHash))
	if err != nil {
		return nil, err
	}
	dispute, err := getDispute(c, disputeArguments{asked.DisputeID})
	if err != nil {
		return nil, err
	}
	if asked.Resolution != withdrawn {
		err = c.requireRegistrar()
	} else if dispute.OpenedByMSPID != c.mspID {
		err = denied("NOT_OPENED_BY_YOU", "Only the organisation that opened a dispute may withdraw it.")
	}
	if err != nil {
		return nil, err
	}
	if dispute.State != open {
		return nil, precondition("DISPUTE_CLOSED", "The dispute is resolved.")
	}
	dispute.State, dispute.ResolutionHash = asked.Resolution, asked.ResolutionHash
	dispute.ResolvedByMSPID, dispute.ResolvedAt, dispute.ResolvedTxID = c.mspID, c.at, c.txID
	return dispute, c.putDispute(dispute, "dispute.resolved")
}
