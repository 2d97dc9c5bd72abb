"""Writes a golden file of quotes as this engine prices them: python make_golden.py > quotes_engine_<version>.json

Run it once per engine version, when the version is new. A file that exists is never written again: test_replay.py shows that later
software still gives the same bytes.
"""

import json
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from pricing_builders import inputs, request, value

from carlien_pricing.adapters.codec import JsonCodec, text_hash, to_json
from carlien_pricing.adapters.policies import parse_bundle, read_files
from carlien_pricing.domain.counteroffers import counteroffers
from carlien_pricing.domain.engine import price
from carlien_pricing.domain.matrix import MarketFacts, TelemetryFacts, UsageFacts
from carlien_pricing.domain.policy import CarAge, Energy, LenderType, LoanPurpose, ProductType
from carlien_pricing.domain.quote import BorrowerFacts, CarFacts, Fee, LienFacts, QuoteInputs
from carlien_pricing.domain.revisions import CURRENT
from carlien_pricing.domain.schedule import RepaymentMethod
from carlien_pricing.domain.step_downs import step_downs

FEES = (Fee("GPS", Decimal("1200.00"), True), Fee("SERVICE", Decimal("30.00"), False))
CASES: list[QuoteInputs] = [
    inputs(),
    inputs(request=request(fees=FEES, term_months=36)),
    inputs(request=request(lender=LenderType.PRIVATE, fees=FEES), borrower=BorrowerFacts(0.06, "LENDER")),
    inputs(request=request(amount=Decimal("95000.00"), term_months=48), usage=UsageFacts(known=True)),
    inputs(request=request(product=ProductType.DEALER_STOCK, method=RepaymentMethod.INTEREST_ONLY, term_months=12)),
    inputs(
        request=request(product=ProductType.NEV, amount=Decimal("30000.00"), grace_months=3, balloon=Decimal("5000.00")),
        car=CarFacts("V", Energy.NEV, CarAge.USED, commercial_use=True, battery_leased=True),
    ),
    inputs(request=request(purpose=LoanPurpose.PURCHASE_COMMERCIAL_USE), car=CarFacts("V"), usage=UsageFacts(known=False)),
    inputs(lien=LienFacts("C-2", 9, ("R-1",), Decimal("10000.00"))),
    inputs(value=value(p10=Decimal("55000.00"), low_confidence=True), borrower=BorrowerFacts(0.15, "POLICY")),
    # New with engine 2.
    inputs(usage=UsageFacts(True, has_device=True, telemetry=TelemetryFacts(True, 0.4, 80, ("UNSIGNED",))), market=MarketFacts(True, -0.1)),
    inputs(
        usage=UsageFacts(True, has_device=True, telemetry=TelemetryFacts(known=False)),
        borrower=BorrowerFacts(0.03, "MODEL", "scorecard-1", ("RISK_DEBT",), "usage-1", 0.25),
        market=MarketFacts(known=False),
    ),
    inputs(lien=LienFacts("C-3", 9, ("R-1", "R-2"), Decimal("10000.00"), rank=2, rule="CIVIL_CODE_414", uncounted=("R-2",))),
    inputs(
        request=request(product=ProductType.NEV, amount=Decimal("50000.00"), term_months=36),
        car=CarFacts("V", Energy.NEV, CarAge.USED, commercial_use=False, battery_kwh=60.0),
        forecast=(),
    ),
    inputs(request=request(purpose=LoanPurpose.PURCHASE_PRIVATE_USE, down_payment=Decimal("10000.00"))),
]


def main() -> None:
    files = read_files()
    policies = parse_bundle(files)
    quotes = []
    for case in CASES:
        case = replace(case, request=replace(case.request, amount=case.request.amount.quantize(Decimal("0.01"))))
        priced = price(case, policies)
        offers = () if priced.offered else counteroffers(case, priced, policies)
        quotes.append(
            {
                "inputs": to_json(case),
                "result": JsonCodec().write_result(priced, offers, step_downs(case, priced, policies)),
                "input_hash": text_hash(to_json(case), policies.version, CURRENT.version),
            }
        )
    golden = {"engine_version": CURRENT.version, "policies_version": policies.version, "policy_files": files, "quotes": quotes}
    sys.stdout.write(json.dumps(golden, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
