package registry

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const maxDepth = 5

var (
	fieldName    = regexp.MustCompile(`^[a-z][a-z0-9_]{0,49}$`)
	vinForm      = regexp.MustCompile(`^[A-HJ-NPR-Z0-9]{17}$`)
	hashForm     = regexp.MustCompile(`^[0-9a-f]{64}$`)
	keyedHash    = regexp.MustCompile(`^k[1-9][0-9]{0,3}:[0-9a-f]{64}$`)
	codeForm     = regexp.MustCompile(`^[A-Z][A-Z0-9_]{1,63}$`)
	mspForm      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	documentForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9./_-]{0,63}$`)
)

// decode reads one JSON object strictly. encoding/json alone takes the last of repeated fields and matches names without
// regard to case: what a person reads in an argument must be what the registry does.
func decode(argument []byte, into any) error {
	if err := checkNames(argument); err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(argument))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return invalid("argument", "ARGUMENT_FIELDS", "The argument has a field that is unknown or of a wrong type.")
	}
	return nil
}

func checkNames(argument []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(argument))
	decoder.UseNumber()
	token, err := decoder.Token()
	if err != nil || token != json.Delim('{') {
		return invalid("argument", "ARGUMENT_NOT_OBJECT", "The argument is a JSON object.")
	}
	if err := checkObject(decoder, 1); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return invalid("argument", "ARGUMENT_NOT_OBJECT", "Nothing follows the JSON object.")
	}
	return nil
}

func checkObject(decoder *json.Decoder, depth int) error {
	seen := map[string]bool{}
	for decoder.More() {
		token, err := decoder.Token()
		name, isText := token.(string)
		if err != nil || !isText {
			return errNotJSON
		}
		if !fieldName.MatchString(name) || seen[name] {
			return invalid("argument", "ARGUMENT_FIELDS", "Field names are lower case and stand once.")
		}
		seen[name] = true
		if err := checkValue(decoder, depth); err != nil {
			return err
		}
	}
	return closes(decoder)
}

func checkValue(decoder *json.Decoder, depth int) error {
	token, err := decoder.Token()
	if err != nil {
		return errNotJSON
	}
	if depth >= maxDepth {
		return invalid("argument", "ARGUMENT_TOO_DEEP", "The argument is nested too deeply.")
	}
	switch token {
	case json.Delim('{'):
		return checkObject(decoder, depth+1)
	case json.Delim('['):
		for decoder.More() {
			if err := checkValue(decoder, depth+1); err != nil {
				return err
			}
		}
		return closes(decoder)
	case nil:
		return invalid("argument", "ARGUMENT_FIELDS", "A field that is absent is left out, not null.")
	}
	return nil
}

func closes(decoder *json.Decoder) error {
	if _, err := decoder.Token(); err != nil {
		return errNotJSON
	}
	return nil
}

var errNotJSON = invalid("argument", "ARGUMENT_NOT_OBJECT", "The argument is a JSON object.")

// first returns the first error of checks made in order.
func first(checks ...error) error {
	for _, err := range checks {
		if err != nil {
			return err
		}
	}
	return nil
}

func matches(form *regexp.Regexp, field, reason, value, meaning string) error {
	if !form.MatchString(value) {
		return invalid(field, reason, "%s", meaning)
	}
	return nil
}

func optional(value string, check error) error {
	if value == "" {
		return nil
	}
	return check
}

func checkVIN(value string) error {
	return matches(vinForm, "vin", "VIN_FORM", value, "A VIN has 17 capital letters and digits, without I, O and Q.")
}

func checkHash(field, value string) error {
	return matches(hashForm, field, "HASH_FORM", value, "A hash is a SHA-256 in 64 lower-case hexadecimal digits.")
}

func checkKeyedHash(field, value string) error {
	return matches(keyedHash, field, "KEYED_HASH_FORM", value, "A keyed hash is k, the key's number, a colon and 64 lower-case hexadecimal digits.")
}

func checkCode(field, value string) error {
	return matches(codeForm, field, "CODE_FORM", value, "A code is upper case, for example PAID_OFF.")
}

func checkMSP(field, value string) error {
	return matches(mspForm, field, "MSP_ID_FORM", value, "An MSP identifier has 1 to 64 letters, digits, dots, hyphens or underscores.")
}

func checkDocument(field, value string) error {
	return matches(documentForm, field, "DOCUMENT_NUMBER_FORM", value, "A document number has 1 to 64 letters, digits, dots, slashes, hyphens or underscores.")
}

func oneOf(field, value string, allowed ...string) error {
	for _, candidate := range allowed {
		if value == candidate {
			return nil
		}
	}
	return invalid(field, "VALUE_UNKNOWN", "Allowed are %s.", strings.Join(allowed, ", "))
}

// checkText is for names that people read: any script, but nothing that hides, reorders or breaks lines.
func checkText(field, value string, most int) error {
	if value == "" || utf8.RuneCountInString(value) > most {
		return invalid(field, "TEXT_LENGTH", "The text has 1 to %d characters.", most)
	}
	for _, character := range value {
		if character == utf8.RuneError || !unicode.IsPrint(character) {
			return invalid(field, "TEXT_CHARACTER", "The text has characters that can't be printed.")
		}
	}
	return nil
}

func checkDate(field, value string) error {
	day, err := time.Parse(time.DateOnly, value)
	if err != nil || day.Year() < 1900 {
		return invalid(field, "DATE_FORM", "A date is written YYYY-MM-DD.")
	}
	return nil
}

// parseInstant returns the instant in the form the registry keeps, to the microsecond.
func parseInstant(field, value string) (string, error) {
	at, err := time.Parse(time.RFC3339Nano, value)
	if err != nil || !strings.HasSuffix(value, "Z") || at.Year() < 1900 || len(value) > 30 {
		return "", invalid(field, "INSTANT_FORM", "An instant is RFC 3339 in UTC, for example 2026-11-24T11:00:00Z.")
	}
	return instant(at), nil
}

// parseLater is parseInstant for an end that must lie after a given instant.
func parseLater(field, value, after, reason string) (string, error) {
	at, err := parseInstant(field, value)
	if err == nil && at <= after {
		return "", invalid(field, reason, "The instant must lie later.")
	}
	return at, err
}

// Page is asked for by every listing function.
type Page struct {
	PageSize int    `json:"page_size"`
	Bookmark string `json:"bookmark"`
}

const (
	defaultPage = 100
	largestPage = 500
)

func (p Page) size() (int32, error) {
	if p.PageSize == 0 {
		return defaultPage, nil
	}
	if p.PageSize < 1 || p.PageSize > largestPage {
		return 0, invalid("page_size", "PAGE_SIZE", "A page has 1 to %s records.", strconv.Itoa(largestPage))
	}
	return int32(p.PageSize), nil // #nosec G115 -- at most largestPage
}

// key opens the bookmark: it is a key of the ledger, which must lie in the listed range, else a caller could read on elsewhere.
func (p Page) key(prefix string) (string, error) {
	if p.Bookmark == "" {
		return "", nil
	}
	key, err := base64.RawURLEncoding.DecodeString(p.Bookmark)
	if err != nil || !utf8.Valid(key) || !strings.HasPrefix(string(key), prefix) {
		return "", invalid("bookmark", "BOOKMARK", "The bookmark isn't one of this list.")
	}
	return string(key), nil
}

func bookmark(key string) string { return base64.RawURLEncoding.EncodeToString([]byte(key)) }
