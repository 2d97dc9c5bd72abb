-- What a lender needs to know from the records: which cars to look at again, what detectors remember, alert cases, places, profiles.

-- One row per car of a stored batch. Only ever inserted by who stores records and deleted by the insight worker, so that neither
-- waits for the other. since: device time of the oldest new record; a time before the car's head means that records came late.
CREATE TABLE insight_due (
    due_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vin text NOT NULL,
    since timestamptz NOT NULL,
    heard_at timestamptz NOT NULL
);
CREATE INDEX insight_due_vin ON insight_due (vin);

-- By trigger, so that no way of storing records can forget it. Records that were there already are not in fresh.
CREATE FUNCTION note_insight_due() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO insight_due (vin, since, heard_at) SELECT vin, min(device_time), max(received_at) FROM fresh GROUP BY vin;
    RETURN NULL;
END $$;
CREATE TRIGGER frame_stored AFTER INSERT ON frame REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION note_insight_due();

-- What the detectors remember of a car after its newest record (head) and after earlier ones (checkpoints: the last hours and
-- the last days), from which a late record makes them start again. Places are in it: deleted with the car's records.
CREATE TABLE car_watch (
    vin text PRIMARY KEY,
    head jsonb NOT NULL,
    head_time timestamptz NOT NULL,
    heard_at timestamptz NOT NULL,
    -- when silence has to be looked at next
    silence_due_at timestamptz NOT NULL,
    -- device time of the first record ever looked at, and the end of the newest profile's period
    watched_from timestamptz NOT NULL,
    profiled_to timestamptz,
    profile_due boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);
CREATE INDEX car_watch_silence ON car_watch (silence_due_at);
CREATE INDEX car_watch_profile ON car_watch (vin) WHERE profile_due;
CREATE TABLE car_checkpoint (
    vin text NOT NULL,
    device_time timestamptz NOT NULL,
    state jsonb NOT NULL,
    PRIMARY KEY (vin, device_time)
);

-- One row per incident of a car.
CREATE TABLE alert (
    alert_id uuid PRIMARY KEY,
    vin text NOT NULL,
    kind text NOT NULL,
    severity text NOT NULL,
    state text NOT NULL CHECK (state IN ('OPEN', 'CLOSED')),
    signals text[] NOT NULL,
    evidence jsonb NOT NULL,
    -- what signals are fused by: custody of the car, one geofence, or the kind itself
    incident text NOT NULL,
    geofence_id text,
    started_at timestamptz NOT NULL,
    last_signal_at timestamptz NOT NULL,
    closed_at timestamptz,
    revision integer NOT NULL
);
CREATE INDEX alert_vin ON alert (vin, started_at);
CREATE INDEX alert_open ON alert (kind) WHERE state = 'OPEN';
-- Every change of a case, for streams that resume. Ids are in commit order: whoever writes holds the insight lock to the end.
CREATE TABLE alert_change (
    change_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vin text NOT NULL,
    kind text NOT NULL,
    changed_at timestamptz NOT NULL,
    alert bytea NOT NULL
);
CREATE INDEX alert_change_age ON alert_change (changed_at);

-- Places of interest: of one car, or of all where vin is null.
CREATE TABLE geofence (
    geofence_id text PRIMARY KEY,
    vin text,
    kind text NOT NULL CHECK (kind IN ('WATCHED', 'SECOND_PAWN', 'HOME', 'PROVINCE')),
    name text NOT NULL,
    shape jsonb NOT NULL,
    dwell_minutes integer,
    updated_at timestamptz NOT NULL
);
CREATE INDEX geofence_vin ON geofence (vin);

-- What was said of a car when its device was put in.
CREATE TABLE car_declaration (
    vin text PRIMARY KEY,
    usage_nature text,
    battery_capacity_ah double precision CHECK (battery_capacity_ah > 0)
);

-- The profile that was last published.
CREATE TABLE car_profile (
    vin text PRIMARY KEY,
    computed_at timestamptz NOT NULL,
    profile bytea NOT NULL
);
