package bad

import "time"

// Clock may look at the clock.
func Clock() time.Time { return time.Now() }
