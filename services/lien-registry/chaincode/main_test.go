package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTLSFilesGoTogether(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(file, []byte("pem"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, given := range []struct {
		name          string
		cert, key, ca string
		fails, plain  bool
	}{
		{name: "none", plain: true},
		{name: "a pair", cert: file, key: file},
		{name: "a pair and the peer's CA", cert: file, key: file, ca: file},
		{name: "a certificate alone", cert: file, fails: true},
		{name: "a key alone", key: file, fails: true},
		{name: "a CA alone", ca: file, fails: true},
		{name: "a file that isn't there", cert: file, key: file + ".missing", fails: true},
	} {
		t.Run(given.name, func(t *testing.T) {
			t.Setenv("CHAINCODE_TLS_CERT_FILE", given.cert)
			t.Setenv("CHAINCODE_TLS_KEY_FILE", given.key)
			t.Setenv("CHAINCODE_TLS_CLIENT_CA_FILE", given.ca)
			properties, err := tlsProperties()
			if (err != nil) != given.fails {
				t.Fatal(err)
			}
			if err == nil && (properties.Disabled != given.plain || (len(properties.ClientCACerts) > 0) != (given.ca != "")) {
				t.Fatalf("got %+v", properties)
			}
		})
	}
}

func TestWhatMustBeSet(t *testing.T) {
	t.Setenv("CHAINCODE_ID", "")
	t.Setenv("CHAINCODE_SERVER_ADDRESS", "127.0.0.1:0")
	if err := serve(); err == nil {
		t.Fatal("served without an id")
	}
}
