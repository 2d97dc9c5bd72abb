package registry

import (
	"math/big"
	"regexp"
	"strings"
)

var amountForm = regexp.MustCompile(`^(0|[1-9][0-9]{0,14})(\.[0-9]{1,3})?$`)

// parseAmount returns the amount written with all the decimals of its currency, so that the same amount is always the same text.
func parseAmount(field, value, currency string) (string, error) {
	decimals, known := minorUnits(currency)
	if !known {
		return "", invalid("currency", "CURRENCY_UNKNOWN", "The currency isn't one of ISO 4217.")
	}
	if !amountForm.MatchString(value) {
		return "", invalid(field, "AMOUNT_FORM", "An amount is a positive decimal number with at most 15 digits before the point.")
	}
	whole, fraction, _ := strings.Cut(value, ".")
	if len(strings.TrimRight(fraction, "0")) > decimals {
		return "", invalid(field, "AMOUNT_DECIMALS", "The currency has %d decimals.", decimals)
	}
	if strings.Trim(whole+fraction, "0") == "" {
		return "", invalid(field, "AMOUNT_NOT_POSITIVE", "The amount must be greater than zero.")
	}
	if decimals == 0 {
		return whole, nil
	}
	fraction += "000"
	return whole + "." + fraction[:decimals], nil
}

// compareAmounts compares two amounts of one currency as parseAmount returns them.
func compareAmounts(left, right string) int { return minor(left).Cmp(minor(right)) }

func minor(amount string) *big.Int {
	value, _ := new(big.Int).SetString(strings.Replace(amount, ".", "", 1), 10)
	return value
}

// Active currencies of ISO 4217 and those whose minor unit isn't a hundredth.
const (
	currencies = " AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY COP" +
		" CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR" +
		" ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN" +
		" MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD" +
		" SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR" +
		" ZMW ZWG "
	withoutDecimals   = " BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF "
	withThreeDecimals = " BHD IQD JOD KWD LYD OMR TND "
)

func minorUnits(currency string) (decimals int, known bool) {
	padded := " " + currency + " "
	switch {
	case len(currency) != 3 || !strings.Contains(currencies, padded):
		return 0, false
	case strings.Contains(withoutDecimals, padded):
		return 0, true
	case strings.Contains(withThreeDecimals, padded):
		return 3, true
	}
	return 2, true
}
