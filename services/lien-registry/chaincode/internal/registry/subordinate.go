package registry

import "time"

type subordinateArguments struct {
	RegistrationNumber       string `json:"registration_number"`
	SeniorRegistrationNumber string `json:"senior_registration_number"`
}

// subordinateLien lets the holder of a lien step back behind another one on the same car: the two change places. It may
// not harm other mortgagees without their written consent (Civil Code 409).
func subordinateLien(c *call, asked subordinateArguments) (*Lien, error) {
	lien, err := c.ownLien(asked.RegistrationNumber)
	if err != nil {
		return nil, err
	}
	agreed, err := c.planSubordination(lien, asked)
	if err != nil {
		return nil, err
	}
	lien.SubordinatedTo = append(lien.SubordinatedTo, asked.SeniorRegistrationNumber)
	return lien, first(c.changeLien(lien, "lien.subordinated", "", 0), c.use(agreed))
}

func (c *call) planSubordination(lien *Lien, asked subordinateArguments) (agreement, error) {
	senior, err := c.lien("senior_registration_number", asked.SeniorRegistrationNumber)
	if err != nil {
		return agreement{}, err
	}
	if err := first(lien.requireInForce(c.at), senior.requireInForce(c.at)); err != nil {
		return agreement{}, err
	}
	if senior.RegistrationNumber == lien.RegistrationNumber || senior.VIN != lien.VIN {
		return agreement{}, invalid("senior_registration_number", "NOT_ANOTHER_ON_THE_CAR", "Priority is given up to another registration on the same car.")
	}
	liens, err := scan[Lien](c, lienKey, lien.VIN)
	if err != nil {
		return agreement{}, err
	}
	if standsBehind(liens, senior.RegistrationNumber, lien.RegistrationNumber) {
		return agreement{}, precondition("CIRCULAR_PRIORITY", "The other registration stands behind this one by agreement.")
	}
	if standsBehind(liens, lien.RegistrationNumber, senior.RegistrationNumber) {
		return agreement{}, duplicate("SUBORDINATED", "The registration stands behind the other one by agreement already.")
	}
	needed := []string{}
	for _, other := range liens {
		// The caller's own organisation agrees by calling, the senior one gains.
		mine := other.SecuredPartyMSPID == lien.SecuredPartyMSPID
		if !mine && other.RegistrationNumber != senior.RegistrationNumber && other.inForce(c.at) && mayHarm(&other, lien, senior) {
			needed = append(needed, other.SecuredPartyMSPID)
		}
	}
	return agree(Proposal{
		Operation: subordinateOperation, VIN: lien.VIN,
		RegistrationNumber: lien.RegistrationNumber, RegistrationVersion: lien.Version,
		SeniorRegistrationNumber: senior.RegistrationNumber, SeniorRegistrationVersion: senior.Version,
	}, needed...), nil
}

// standsBehind follows agreements from one registration to those it stands behind.
func standsBehind(liens []Lien, from, behind string) bool {
	waiting, seen := []string{from}, map[string]bool{}
	for len(waiting) > 0 {
		number := waiting[0]
		waiting = waiting[1:]
		if seen[number] {
			continue
		}
		seen[number] = true
		for _, lien := range liens {
			if lien.RegistrationNumber != number {
				continue
			}
			for _, senior := range lien.SubordinatedTo {
				if senior == behind {
					return true
				}
				waiting = append(waiting, senior)
			}
		}
	}
	return false
}

// mayHarm tells whether a swap of two registrations can leave another one worse off: only when the one that comes forward
// secures more than the one that steps back, and only those ranked between the two. A chaincode doesn't see the order of
// the ledger, so between is judged by timestamps with the clock skew to spare; where the class ranks by other rules, or in
// doubt, consent is asked for. A possessory lien stands first by law (Art. 456) whatever others agree.
func mayHarm(other, back, forward *Lien) bool {
	if other.LienClass == possessory {
		return false
	}
	if back.Currency == forward.Currency && compareAmounts(forward.SecuredAmount, back.SecuredAmount) <= 0 {
		return false
	}
	for _, lien := range []*Lien{other, back, forward} {
		if lien.LienClass != mortgage && lien.LienClass != pledge || len(lien.SubordinatedTo) > 0 {
			return true
		}
	}
	earliest, latest := min(back.PriorityAt, forward.PriorityAt), max(back.PriorityAt, forward.PriorityAt)
	return !surelyBefore(other.PriorityAt, earliest) && !surelyBefore(latest, other.PriorityAt)
}

func surelyBefore(left, right string) bool {
	from, errFrom := time.Parse(instantLayout, left)
	to, errTo := time.Parse(instantLayout, right)
	return errFrom == nil && errTo == nil && to.Sub(from) > 2*maxSkew
}
