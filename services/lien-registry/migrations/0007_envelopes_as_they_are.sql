-- Signatures, certificates and hashes don't get smaller by compression, but trying costs more than storing them. For new rows.
ALTER TABLE ledger_writes ALTER COLUMN envelope SET STORAGE EXTERNAL;
