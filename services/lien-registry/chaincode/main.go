// Command mortgage-asset is the consortium's chaincode, run as a service beside each organisation's peer.
package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"

	"carlien/mortgage-asset/internal/registry"
)

// gcPercent lets the heap grow to five times what is live before it is collected. What is live is a few megabytes, and a batch
// leaves as much behind: with Go's 100 the collector would run several times in each.
const gcPercent = 400

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "mortgage-asset:", err)
		os.Exit(1)
	}
}

func serve() error {
	chaincode, err := registry.NewChaincode(registry.SystemClock)
	if err != nil {
		return err
	}
	id, address := os.Getenv("CHAINCODE_ID"), os.Getenv("CHAINCODE_SERVER_ADDRESS")
	if id == "" || address == "" {
		return fmt.Errorf("CHAINCODE_ID and CHAINCODE_SERVER_ADDRESS must be set")
	}
	tls, err := tlsProperties()
	if err != nil {
		return err
	}
	server := &shim.ChaincodeServer{CCID: id, Address: address, CC: chaincode, TLSProps: tls}
	return server.Start()
}

// tlsProperties reads the key pair, both or neither, and the CA that the peer's certificate must come from.
func tlsProperties() (shim.TLSProperties, error) {
	certFile, keyFile := os.Getenv("CHAINCODE_TLS_CERT_FILE"), os.Getenv("CHAINCODE_TLS_KEY_FILE")
	clientCAFile := os.Getenv("CHAINCODE_TLS_CLIENT_CA_FILE")
	if certFile == "" && keyFile == "" && clientCAFile == "" {
		return shim.TLSProperties{Disabled: true}, nil
	}
	if certFile == "" || keyFile == "" {
		return shim.TLSProperties{}, fmt.Errorf("CHAINCODE_TLS_CERT_FILE and CHAINCODE_TLS_KEY_FILE go together")
	}
	properties := shim.TLSProperties{}
	for _, file := range []struct {
		path string
		into *[]byte
	}{{certFile, &properties.Cert}, {keyFile, &properties.Key}, {clientCAFile, &properties.ClientCACerts}} {
		if file.path == "" {
			continue
		}
		content, err := os.ReadFile(file.path)
		if err != nil {
			return shim.TLSProperties{}, err
		}
		*file.into = content
	}
	return properties, nil
}
