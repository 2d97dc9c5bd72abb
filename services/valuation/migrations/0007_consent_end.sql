-- Records whose consent has ended are deleted.
CREATE INDEX vehicle_record_consent_end ON vehicle_record (consent_expires_at) WHERE consent_expires_at IS NOT NULL;
