// Package bad has one of everything the determinism check must find; each line says what.
package bad

import (
	"math/rand/v2" // want: imports math/rand/v2
	"time"

	"example/testdata/shim"
)

var counter int
var seen = map[string]bool{}

func Bad(stub shim.Stub, values map[string]int) int {
	counter++                  // want: changes the package variable counter
	seen["x"] = true           // want: changes the package variable seen
	for name := range values { // want: ranges over a map
		_ = name
	}
	go Bad(stub, nil)   // want: starts a goroutine
	c := make(chan int) // want: uses channels
	_ = c
	_ = time.Now()             // want: time.Now depends
	_ = 1.5                    // want: floating-point
	stub.GetHistoryForKey("x") // want: GetHistoryForKey isn't checked
	return rand.Int()
}

func Good(stub shim.Stub, values []int) (int, error) {
	_, err := time.Parse(time.DateOnly, "2026-01-01")
	sum := 0
	for _, value := range values {
		sum += value
	}
	local := map[string]int{}
	local["x"] = sum
	return local["x"], err
}

func history(stub shim.Stub) { stub.GetHistoryForKey("x") }
