package registry

import (
	"encoding/json"
	"errors"
	"fmt"
)

const largestBatch = 100

type batchArguments struct {
	// Items are decoded one by one: a malformed one is reported and skipped, not the whole batch.
	Items []json.RawMessage `json:"items"`
}

// Outcome is what became of one item of a batch.
type Outcome struct {
	Item  int      `json:"item"`
	Lien  *Lien    `json:"lien,omitempty"`
	Error *Refusal `json:"error,omitempty"`
}

// BatchOutcome holds an outcome per item, in the order of the items.
type BatchOutcome struct {
	Outcomes []Outcome `json:"outcomes"`
}

func batchRegisterLiens(c *call, asked batchArguments) (*BatchOutcome, error) {
	if len(asked.Items) < 1 || len(asked.Items) > largestBatch {
		return nil, invalid("items", "BATCH_SIZE", "A batch has 1 to %d items.", largestBatch)
	}
	answer := &BatchOutcome{}
	for item, argument := range asked.Items {
		lien, err := c.registerItem(argument, item)
		var refusal *Refusal
		if err != nil && (!errors.As(err, &refusal) || refusal.Kind == Unavailable) {
			return nil, err
		}
		if refusal != nil {
			answer.Outcomes = append(answer.Outcomes, Outcome{Item: item, Error: refusal.of(item)})
			continue
		}
		answer.Outcomes = append(answer.Outcomes, Outcome{Item: item, Lien: lien})
	}
	if len(c.changes) == 0 {
		refusal := &Refusal{Kind: Precondition, Reason: "BATCH_EMPTY", Message: "No item can be registered.", Outcomes: answer.Outcomes}
		return nil, refusal
	}
	return answer, nil
}

func (c *call) registerItem(argument json.RawMessage, item int) (*Lien, error) {
	var asked registerArguments
	if err := decode(argument, &asked); err != nil {
		return nil, err
	}
	lien, err := asked.lien(c)
	if err != nil {
		return nil, err
	}
	return lien, c.register(lien, asked.RequireFirstRank, asked.ReservationID, item)
}

// of returns the refusal with its field named within the batch. A copy: some refusals are shared.
func (r *Refusal) of(item int) *Refusal {
	named := *r
	if field, ok := r.Metadata["field"]; ok {
		named.Metadata = map[string]string{"field": fmt.Sprintf("items[%d].%s", item, field)}
	}
	return &named
}
