package registry

import (
	"crypto/sha256"
	"encoding/base32"
	"regexp"
	"strconv"
	"strings"
)

// The first letter of a number says what it numbers.
const (
	lienNumber        = "L"
	reservationNumber = "P"
	disputeNumber     = "D"
	courtOrderNumber  = "C"
)

// Crockford's alphabet: no I, L, O, U, which people mistake.
var crockford = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

const checkAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

var numberForm = regexp.MustCompile(`^[LPDC][0-9A-HJKMNP-TV-Z]{16}[0-9A-Z]$`)

// newNumber derives a number from the transaction and the item in it. No counter: a counter would be one key that every
// registration of the consortium fights for.
func newNumber(kind, txID string, item int) string {
	digest := sha256.Sum256([]byte(kind + "\x00" + txID + "\x00" + strconv.Itoa(item)))
	body := kind + crockford.EncodeToString(digest[:10])
	return body + string(checkCharacter(body))
}

func checkNumber(field, kind, value string) error {
	ok := numberForm.MatchString(value) && value[:1] == kind && checkCharacter(value[:len(value)-1]) == value[len(value)-1]
	if !ok {
		return invalid(field, "NUMBER_FORM", "The number is mistyped.")
	}
	return nil
}

// checkCharacter is ISO 7064 MOD 37,36: it finds every single wrong character and every swap of neighbours.
func checkCharacter(text string) byte {
	product := 36
	for _, character := range text {
		sum := (product + strings.IndexRune(checkAlphabet, character)) % 36
		if sum == 0 {
			sum = 36
		}
		product = sum * 2 % 37
	}
	return checkAlphabet[(37-product)%36]
}
