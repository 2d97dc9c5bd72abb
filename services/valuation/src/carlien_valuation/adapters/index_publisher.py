"""Publishing from the command line into the service's database; its outbox relay does the rest."""

from collections.abc import Sequence

from pydantic import Field

from carlien_common.config import DatabaseSettings, load
from carlien_valuation.adapters.index_store import TOPIC, publish
from carlien_valuation.adapters.own_database import own_database
from carlien_valuation.domain.index_publication import Publication


class PublisherSettings(DatabaseSettings):
    """What publishing needs."""

    org: str = Field(min_length=1)


async def publish_from_environment(publications: Sequence[Publication]) -> list[Publication]:
    """Publish into CARLIEN_POSTGRES_DSN; returns the new ones. UNAVAILABLE where the database doesn't answer."""
    settings = load(PublisherSettings)
    async with own_database("carlien-index-publisher", settings) as connection:
        return await publish(connection, publications, topic=TOPIC, source=f"/{settings.org}/valuation")
