package main

import (
	"encoding/json"
	"fmt"
)

// Refusal is an error a caller can act on. Its text is JSON, because that text is all that reaches a client.
type Refusal struct {
	Kind     string            `json:"kind"`
	Reason   string            `json:"reason"`
	Message  string            `json:"message"`
	Field    string            `json:"field,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

func (r *Refusal) Error() string {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Sprintf("%s: %s", r.Reason, r.Message)
	}
	return string(text)
}

func invalid(field, reason, message string) error {
	return &Refusal{Kind: "INVALID", Reason: reason, Message: message, Field: field}
}

func notFound(reason, message string) error {
	return &Refusal{Kind: "NOT_FOUND", Reason: reason, Message: message}
}

func duplicate(reason, message string) error {
	return &Refusal{Kind: "DUPLICATE", Reason: reason, Message: message}
}

func denied(reason, message string) error {
	return &Refusal{Kind: "DENIED", Reason: reason, Message: message}
}

func precondition(reason, message string, metadata map[string]string) error {
	return &Refusal{Kind: "PRECONDITION", Reason: reason, Message: message, Metadata: metadata}
}
