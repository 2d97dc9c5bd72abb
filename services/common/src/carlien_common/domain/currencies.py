"""ISO 4217: the currencies in use and how many decimals their minor unit has.

Source: ISO 4217 list one (SIX Financial Information, maintenance agency), as amended up to amendment 180 (BGN withdrawn
2026-01-01, XCG for ANG 2025, ZWG for ZWL 2024). Funds codes, precious metals and test codes have no minor unit and aren't money here.
"""

from __future__ import annotations

from typing import Final

AS_OF: Final = "2026-01-01"

_MINOR_UNITS: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    2: (
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP CVE "
        "CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR "
        "KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB "
        "PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY "
        "TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG"
    ),
    3: "BHD IQD JOD KWD LYD OMR TND",
}

MINOR_UNITS: Final[dict[str, int]] = {code: digits for digits, codes in _MINOR_UNITS.items() for code in codes.split()}
"""Currency code -> decimals of its minor unit."""
