-- The last telematics profile taken in, per car: an older one, or the same again, changes nothing.
CREATE TABLE profile_mark (
    vin         text PRIMARY KEY,
    computed_at timestamptz NOT NULL
);
