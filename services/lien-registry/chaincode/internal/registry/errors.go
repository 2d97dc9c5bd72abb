package registry

import (
	"encoding/json"
	"fmt"
)

// Kind says what a caller can do about a refusal; the services map it to a gRPC status.
type Kind string

// The kinds.
const (
	Invalid      Kind = "INVALID"
	NotFound     Kind = "NOT_FOUND"
	Duplicate    Kind = "DUPLICATE"
	Precondition Kind = "PRECONDITION"
	Denied       Kind = "DENIED"
	Unavailable  Kind = "UNAVAILABLE"
)

// Refusal is every error of this chaincode: its text is the JSON of it, so that a service need not read prose.
type Refusal struct {
	Kind     Kind              `json:"kind"`
	Reason   string            `json:"reason"`
	Message  string            `json:"message"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Outcomes []Outcome         `json:"outcomes,omitempty"`
}

// Error returns the refusal as JSON.
func (r *Refusal) Error() string {
	text, err := json.Marshal(r)
	if err != nil {
		return `{"kind":"UNAVAILABLE","reason":"ERROR_UNREADABLE","message":"The error could not be written."}`
	}
	return string(text)
}

func invalid(field, reason, format string, values ...any) *Refusal {
	return &Refusal{Kind: Invalid, Reason: reason, Message: fmt.Sprintf(format, values...), Metadata: map[string]string{"field": field}}
}

func notFound(reason, message string) *Refusal {
	return &Refusal{Kind: NotFound, Reason: reason, Message: message}
}

func duplicate(reason, message string) *Refusal {
	return &Refusal{Kind: Duplicate, Reason: reason, Message: message}
}

func denied(reason, message string) *Refusal {
	return &Refusal{Kind: Denied, Reason: reason, Message: message}
}

// precondition takes metadata as pairs of name and value.
func precondition(reason, message string, metadata ...string) *Refusal {
	refusal := &Refusal{Kind: Precondition, Reason: reason, Message: message}
	for at := 0; at+1 < len(metadata); at += 2 {
		if refusal.Metadata == nil {
			refusal.Metadata = map[string]string{}
		}
		refusal.Metadata[metadata[at]] = metadata[at+1]
	}
	return refusal
}

// ledgerFailed is for the peer failing us, never for what a caller sent. The peer logs the cause; it may name keys.
func ledgerFailed(doing string) *Refusal {
	return &Refusal{Kind: Unavailable, Reason: "LEDGER_STATE", Message: "The peer could not " + doing + "."}
}
