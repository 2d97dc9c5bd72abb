package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"time"
	"unicode/utf8"
)

const maxArgument = 256 * 1024

var (
	vinPattern         = regexp.MustCompile(`^[A-HJ-NPR-Z0-9]{17}$`)
	hashPattern        = regexp.MustCompile(`^[0-9a-f]{64}$`)
	debtorHashPattern  = regexp.MustCompile(`^k[1-9][0-9]{0,3}:[0-9a-f]{64}$`)
	amountPattern      = regexp.MustCompile(`^(0|[1-9][0-9]{0,15})(\.[0-9]{1,3})?$`)
	zeroPattern        = regexp.MustCompile(`^0(\.0+)?$`)
	currencyPattern    = regexp.MustCompile(`^[A-Z]{3}$`)
	codePattern        = regexp.MustCompile(`^[A-Z][A-Z0-9_]{1,63}$`)
	certificatePattern = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)
	numberPattern      = regexp.MustCompile(`^L[A-Z2-7]{16}$`)
	datePattern        = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)
)

// parse reads the one JSON argument of a function. Text that is not UTF-8 must be refused before any call to the ledger: as a
// key or a message to the peer it would end the whole process.
func parse(argument string, into any) error {
	if len(argument) > maxArgument {
		return invalid("", "ARGUMENT_TOO_LONG", fmt.Sprintf("an argument has at most %d bytes", maxArgument))
	}
	if !utf8.ValidString(argument) {
		return invalid("", "ARGUMENT_NOT_UTF8", "the argument is not UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader([]byte(argument)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return invalid("", "ARGUMENT_MALFORMED", "the argument is not the JSON object this function takes")
	}
	if decoder.More() {
		return invalid("", "ARGUMENT_MALFORMED", "something follows the JSON object")
	}
	return nil
}

func match(pattern *regexp.Regexp, field, value, reason string) error {
	if !pattern.MatchString(value) {
		return invalid(field, reason, field+" does not have the required form")
	}
	return nil
}

// instant checks an optional RFC 3339 time in UTC and whole seconds, the one form whose text order is its time order.
func instant(field, value string) error {
	if value == "" {
		return nil
	}
	parsed, err := time.Parse(time.RFC3339, value)
	if err != nil || parsed.UTC().Format(time.RFC3339) != value {
		return invalid(field, "TIME_MALFORMED", field+" is no RFC 3339 time in UTC and whole seconds")
	}
	return nil
}

func date(field, value string) error {
	if value == "" {
		return nil
	}
	if _, err := time.Parse(time.DateOnly, value); err != nil || !datePattern.MatchString(value) {
		return invalid(field, "DATE_MALFORMED", field+" is no date")
	}
	return nil
}

func first(errors ...error) error {
	for _, err := range errors {
		if err != nil {
			return err
		}
	}
	return nil
}
