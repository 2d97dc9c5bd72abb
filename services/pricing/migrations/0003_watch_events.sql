-- What StreamWatchEvents sends. A transaction's rows become visible together when it ends, possibly after those of a later one; so
-- readers take only transactions older than every running one (pg_snapshot_xmin), and order by (tx, sequence).
CREATE TABLE watch_events (
    sequence    bigserial PRIMARY KEY,
    tx          xid8 NOT NULL DEFAULT pg_current_xact_id(),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    loan_id     text NOT NULL,
    event       bytea NOT NULL
);
CREATE INDEX watch_events_order ON watch_events (tx, sequence);
CREATE INDEX watch_events_age ON watch_events (recorded_at);
