-- A JT/T 808 terminal says its number filled up with zeros to the width of the header: it is found without them.
CREATE INDEX device_jt808_terminal ON device (ltrim(device_id, '0')) WHERE protocol = 'JT808' AND status = 'ACTIVE';
