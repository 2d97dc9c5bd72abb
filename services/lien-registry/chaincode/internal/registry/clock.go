package registry

import "time"

// maxSkew is how far a transaction's timestamp, which its client chose, may be from an endorser's own clock.
const maxSkew = 30 * time.Second

// Clock tells an endorser's own time. It only ever refuses a transaction; nothing of it reaches the state, so endorsers
// whose clocks differ either agree to the byte or one of them refuses.
type Clock func() time.Time

// SystemClock is the machine's clock, and the only place this chaincode looks at it.
func SystemClock() time.Time { return time.Now() }

// instantLayout has a fixed width, so that instants compare as text.
const instantLayout = "2006-01-02T15:04:05.000000Z"

func instant(at time.Time) string { return at.UTC().Format(instantLayout) }

func checkSkew(clock Clock, at time.Time) error {
	if skew := clock().Sub(at); skew > maxSkew || skew < -maxSkew {
		return precondition("CLOCK_SKEW", "The transaction's timestamp is more than 30 seconds from the endorser's clock.")
	}
	return nil
}
