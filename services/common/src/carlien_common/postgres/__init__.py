"""PostgreSQL: the pool and plain-SQL migrations."""

from carlien_common.postgres.migrations import SchemaMismatchError, migrate, verify_schema
from carlien_common.postgres.pool import Connection, Pool, pool

__all__ = ["Connection", "Pool", "SchemaMismatchError", "migrate", "pool", "verify_schema"]
