-- Devices, consents, frames, positions, the newest state of each car, and the audit of reads.

CREATE TABLE device (
    device_id text PRIMARY KEY,
    vin text NOT NULL,
    protocol text NOT NULL,
    credential_salt bytea NOT NULL,
    credential_hash bytea NOT NULL,
    status text NOT NULL CHECK (status IN ('ACTIVE', 'RETIRED')),
    registered_at timestamptz NOT NULL,
    retired_at timestamptz,
    retire_reason text,
    last_seen_at timestamptz,
    online boolean NOT NULL DEFAULT false,
    online_reason text NOT NULL DEFAULT 'NEVER_CONNECTED',
    -- which gateway process holds the connection, so that one that starts again can say its old ones are gone
    gateway_id text
) WITH (fillfactor = 70);
CREATE INDEX device_vin ON device (vin);

-- Append-only but for the end of a consent. The newest row of a car and purpose is in force or nothing is.
CREATE TABLE data_consent (
    vin text NOT NULL,
    purpose text NOT NULL,
    granted_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL CHECK (expires_at > granted_at),
    revoked_at timestamptz,
    PRIMARY KEY (vin, purpose, granted_at)
);

-- One row per record of a device. Realtime and reissue of the same record differ in the command byte only and so share
-- the digest of the data unit; two different records of one second do not, and both stay.
CREATE TABLE frame (
    vin text NOT NULL,
    device_time timestamptz NOT NULL,
    device_id text NOT NULL,
    digest bytea NOT NULL,
    source_protocol text NOT NULL,
    reissued boolean NOT NULL,
    received_at timestamptz NOT NULL,
    units jsonb NOT NULL,
    -- The long arrays of all packs of the record, in order, as arrays: a tenth of the work and half the room of jsonb
    -- numbers. units says which pack holds how many of them; view cell_voltage puts both together.
    cell_millivolts integer[],
    probe_celsius smallint[],
    missing jsonb,
    undecoded bytea,
    undecoded_reason text,
    PRIMARY KEY (vin, device_time, device_id, digest)
) PARTITION BY RANGE (device_time);
-- Device times far in the past or the future: no partition is made for a day that a wrong clock invented.
CREATE TABLE frame_history PARTITION OF frame DEFAULT;

CREATE VIEW cell_voltage AS
SELECT f.vin, f.device_time, f.device_id, f.digest, (pack.value ->> 'pack')::integer AS pack,
       (pack.value ->> 'first_cell')::integer + cell.n - 1 AS cell,
       f.cell_millivolts[pack.skipped + cell.n] AS millivolts
FROM frame f
CROSS JOIN LATERAL (
    SELECT p.value, (sum((p.value ->> 'cells')::integer) OVER (ORDER BY p.n) - (p.value ->> 'cells')::integer)::integer AS skipped
    FROM jsonb_array_elements(f.units -> 'cell_voltages') WITH ORDINALITY AS p(value, n)
) AS pack
CROSS JOIN LATERAL generate_series(1, (pack.value ->> 'cells')::integer) AS cell(n);

CREATE TABLE position (
    vin text NOT NULL,
    device_time timestamptz NOT NULL,
    device_id text NOT NULL,
    digest bytea NOT NULL,
    latitude double precision NOT NULL,
    longitude double precision NOT NULL,
    speed_kmh real,
    odometer_km double precision,
    reissued boolean NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (vin, device_time, device_id, digest)
) PARTITION BY RANGE (device_time);
CREATE TABLE position_history PARTITION OF position DEFAULT;

-- The newest state of each car: one row, no look at frames. has_* say which unit a record carried, so that a record
-- without one leaves the older value and a record with an invalid value clears it.
CREATE TABLE vehicle_state (
    vin text PRIMARY KEY,
    device_id text NOT NULL,
    device_time timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    latitude double precision,
    longitude double precision,
    speed_kmh double precision,
    odometer_km double precision,
    soc_percent double precision,
    ignition boolean,
    last_alarm text,
    last_alarm_at timestamptz
) WITH (fillfactor = 50);

-- What must go because its last consent ended. received_until: a consent given again later does not save older data.
CREATE TABLE deletion (
    deletion_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vin text NOT NULL,
    received_until timestamptz NOT NULL,
    done_at timestamptz
);
CREATE INDEX deletion_open ON deletion (received_until) WHERE done_at IS NULL;

-- Every read of a track: who, what car, which times, how much.
CREATE TABLE track_read (
    read_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    read_at timestamptz NOT NULL,
    org text NOT NULL,
    role text NOT NULL,
    rpc text NOT NULL,
    vin text NOT NULL,
    from_time timestamptz,
    to_time timestamptz,
    rows_read integer NOT NULL
);
CREATE INDEX track_read_vin ON track_read (vin, read_at);

-- Makes the partition of one UTC day of frame or position, moving rows a wrong clock had put into history before.
CREATE FUNCTION ensure_day(parent text, day date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    child text := parent || '_' || to_char(day, 'YYYYMMDD');
    lower_bound timestamptz := day::timestamp AT TIME ZONE 'UTC';
    upper_bound timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
BEGIN
    IF to_regclass(child) IS NOT NULL THEN RETURN; END IF;
    PERFORM pg_advisory_xact_lock(hashtext('carlien_telematics.ensure_day'));
    IF to_regclass(child) IS NOT NULL THEN RETURN; END IF;
    -- a record of a few kilobytes stays in its row: compressing it costs more than it saves
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL) WITH (toast_tuple_target = 8160)', child, parent);
    EXECUTE format(
        'WITH moved AS (DELETE FROM %I WHERE device_time >= %L AND device_time < %L RETURNING *) INSERT INTO %I SELECT * FROM moved',
        parent || '_history', lower_bound, upper_bound, child);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child, lower_bound, upper_bound);
END $$;

-- Tells every gateway that what it remembers of a car is old: it asks again before it takes another record of that car.
CREATE FUNCTION notify_access_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('telematics_access', COALESCE(NEW.vin, OLD.vin));
    RETURN NULL;
END $$;
CREATE TRIGGER data_consent_changed AFTER INSERT OR UPDATE OR DELETE ON data_consent
    FOR EACH ROW EXECUTE FUNCTION notify_access_changed();
CREATE TRIGGER device_registered AFTER INSERT ON device
    FOR EACH ROW EXECUTE FUNCTION notify_access_changed();
CREATE TRIGGER device_changed AFTER UPDATE OF status, vin, credential_hash ON device
    FOR EACH ROW EXECUTE FUNCTION notify_access_changed();
