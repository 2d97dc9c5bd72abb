package registry

import "encoding/json"

// eventName is that of the one event a transaction emits.
const eventName = "carlien.lien.v1"

// Change is one change of public state: what happened, and the record after it in full.
type Change struct {
	Change             string       `json:"change"`
	VIN                string       `json:"vin"`
	RegistrationNumber string       `json:"registration_number"`
	Item               int          `json:"item"`
	Lien               *Lien        `json:"lien,omitempty"`
	Title              *Title       `json:"title,omitempty"`
	Reservation        *Reservation `json:"reservation,omitempty"`
	Consent            *Consent     `json:"consent,omitempty"`
	Dispute            *Dispute     `json:"dispute,omitempty"`
	CourtOrder         *CourtOrder  `json:"court_order,omitempty"`
	Policy             *Policy      `json:"policy,omitempty"`
	Anchor             *Anchor      `json:"anchor,omitempty"`
}

type event struct {
	TxID       string   `json:"tx_id"`
	OccurredAt string   `json:"occurred_at"`
	Changes    []Change `json:"changes"`
}

func (c *call) changed(change Change) { c.changes = append(c.changes, change) }

// emit sets the event. Fabric keeps one per transaction, the last one set.
func (c *call) emit() error {
	if len(c.changes) == 0 {
		return nil
	}
	payload, err := json.Marshal(event{TxID: c.txID, OccurredAt: c.at, Changes: c.changes})
	if err != nil {
		return ledgerFailed("write the event")
	}
	if err := c.stub.SetEvent(eventName, payload); err != nil {
		return ledgerFailed("write the event")
	}
	return nil
}
