package registry

import "testing"

// What a registration costs the chaincode itself, without peers: to be set against a block's time.
func BenchmarkRegisterLien(b *testing.B) {
	ledger := newLedger(b)
	argument := lienOf(car).json()
	for b.Loop() {
		if transaction := ledger.propose(org1, "RegisterLien", argument, nil); transaction.response.GetStatus() != 200 {
			b.Fatal(transaction.response.GetMessage())
		}
	}
}
