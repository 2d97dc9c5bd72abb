"""The car of the story, and fresh VINs for it."""

import random

from google.type import date_pb2, money_pb2

from carlien.valuation.v1 import vehicle_pb2
from carlien_common.domain.vin import check_digit


def fresh_vin(rng: random.Random) -> str:
    """Return a random VIN of a Chinese maker with a right check digit (GB 16735)."""
    characters = list("LSV" + "".join(rng.choice("ABCDEFGHJKLMNPRSTUVWXYZ0123456789") for _ in range(9)) + f"{rng.randrange(100000):05d}")
    characters[8] = check_digit("".join(characters))
    return "".join(characters)


def car(vin: str, odometer_km: int, year: int) -> vehicle_pb2.Vehicle:
    """Return the story's car: a common family saloon with its guide price, first registered in March of `year`."""
    return vehicle_pb2.Vehicle(
        vin=vin,
        make="大众",
        model="朗逸",
        trim="2015款 1.6L 自动舒适版",
        first_registration=date_pb2.Date(year=year, month=3, day=15),
        odometer_km=odometer_km,
        usage_nature=vehicle_pb2.USAGE_NATURE_PRIVATE,
        fuel_type=vehicle_pb2.FUEL_TYPE_PETROL,
        new_price=money_pb2.Money(currency_code="CNY", units=135_900),
    )
