-- Breaking: it empties the read model, and old code beside it would certify "no lien" until it is built anew.
-- Records are stored in the canonical form that the tree commits to, with their place in the ledger: built anew at the next start.
TRUNCATE lien_versions, title_versions, record_versions, tree_entries, tree_changes, anchors;
UPDATE ledger_checkpoint SET block_number = -1, tx_count = 0, block_hash = '', applied_at = now();
