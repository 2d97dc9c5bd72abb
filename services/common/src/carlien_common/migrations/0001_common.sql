-- What every carlien database has: the outbox, idempotency keys and consumed events.

CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    key text NOT NULL,
    value bytea NOT NULL,
    ce_id text NOT NULL,
    ce_type text NOT NULL,
    ce_source text NOT NULL,
    ce_time timestamptz NOT NULL,
    traceparent text,
    created_at timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz
);
-- The relay looks for rows without a mark, never past a high-water mark: an identity value can become visible after a higher one.
CREATE INDEX outbox_pending ON outbox (id) WHERE published_at IS NULL;
CREATE INDEX outbox_published ON outbox (published_at) WHERE published_at IS NOT NULL;

CREATE TABLE idempotency_key (
    org text NOT NULL,
    rpc text NOT NULL,
    key text NOT NULL,
    request_hash bytea NOT NULL,
    answer bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org, rpc, key)
);
CREATE INDEX idempotency_key_created ON idempotency_key (created_at);

CREATE TABLE consumed_event (
    consumer_group text NOT NULL,
    ce_source text NOT NULL,
    ce_id text NOT NULL,
    consumed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer_group, ce_source, ce_id)
);
CREATE INDEX consumed_event_age ON consumed_event (consumed_at);
