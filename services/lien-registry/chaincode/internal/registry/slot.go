package registry

import "time"

const (
	held     = "HELD"
	released = "RELEASED"

	shortestHold = 60
	longestHold  = 3600
)

// Reservation holds first rank for some minutes, so that a lender can pay out knowing what it will get.
type Reservation struct {
	ReservationID string `json:"reservation_id"`
	VIN           string `json:"vin"`
	MSPID         string `json:"msp_id"`
	State         string `json:"state"`
	ReservedAt    string `json:"reserved_at"`
	ExpiresAt     string `json:"expires_at"`
	TxID          string `json:"tx_id"`
}

func (r *Reservation) live(at string) bool { return r != nil && r.State == held && at < r.ExpiresAt }

// Slot is the one key that claims to first rank on a car collide on. It names the last holder; whether that one still
// stands, its registration tells. It is never deleted: ClaimedAt must outlive the claim (see renewLien).
type Slot struct {
	VIN                string       `json:"vin"`
	RegistrationNumber string       `json:"registration_number"`
	Reservation        *Reservation `json:"reservation,omitempty"`
	ClaimedAt          string       `json:"claimed_at"`
}

func (c *call) slot(vin string) (*Slot, error) {
	slot := &Slot{VIN: vin}
	_, err := c.get(slot, slotKey, vin)
	return slot, err
}

// claimFirstRank takes the slot for a new registration or refuses with FIRST_RANK_TAKEN. See the README, "First rank under any race".
func (c *call) claimFirstRank(lien *Lien, reservationID string) error {
	if number := c.claimed[lien.VIN]; number != "" {
		return takenBy(number)
	}
	slot, err := c.slot(lien.VIN)
	if err != nil {
		return err
	}
	if err := c.refuseSeized(lien.VIN); err != nil {
		return err
	}
	if reservation := slot.Reservation; reservation.live(c.at) {
		if reservation.MSPID != c.mspID || reservationID != "" && reservationID != reservation.ReservationID {
			return reservedBy(reservation)
		}
		// What was registered since the reservation stands behind it: that is what the reservation is for.
		lien.PriorityAt, lien.PriorityTxID = reservation.ReservedAt, reservation.TxID
	} else if err := c.requireFree(slot); err != nil {
		return err
	}
	lien.FirstRank = true
	c.claimed[lien.VIN] = lien.RegistrationNumber
	slot.RegistrationNumber, slot.Reservation = lien.RegistrationNumber, nil
	return c.put(slot, slotKey, slot.VIN)
}

// requireFree refuses when any registration on the car is in force, and notes in the slot as of when that was judged.
func (c *call) requireFree(slot *Slot) error {
	if number := c.registered[slot.VIN]; number != "" {
		return takenBy(number)
	}
	holder, err := c.standing(slot)
	if err != nil {
		return err
	}
	if holder != "" {
		return takenBy(holder)
	}
	slot.ClaimedAt = max(slot.ClaimedAt, c.at)
	return nil
}

// standing returns a registration in force on the car, that of the slot if it is one of them. It reads the range of the
// car's registrations, so at commit the peers check that none has come, and none has changed, in between.
func (c *call) standing(slot *Slot) (string, error) {
	liens, err := scan[Lien](c, lienKey, slot.VIN)
	if err != nil {
		return "", err
	}
	standing := ""
	for _, lien := range liens {
		if lien.inForce(c.at) && (standing == "" || lien.RegistrationNumber == slot.RegistrationNumber) {
			standing = lien.RegistrationNumber
		}
	}
	return standing, nil
}

func takenBy(number string) error {
	return precondition("FIRST_RANK_TAKEN", "First rank on this car is taken.", "registration_number", number)
}

func reservedBy(reservation *Reservation) error {
	return precondition("FIRST_RANK_TAKEN", "First rank on this car is reserved.",
		"reservation_id", reservation.ReservationID, "expires_at", reservation.ExpiresAt)
}

type reserveArguments struct {
	VIN         string `json:"vin"`
	HoldSeconds int    `json:"hold_seconds"`
}

func reservePriority(c *call, asked reserveArguments) (*Reservation, error) {
	if err := checkVIN(asked.VIN); err != nil {
		return nil, err
	}
	if asked.HoldSeconds < shortestHold || asked.HoldSeconds > longestHold {
		return nil, invalid("hold_seconds", "HOLD_SECONDS", "First rank is held for %d to %d seconds.", shortestHold, longestHold)
	}
	slot, err := c.slot(asked.VIN)
	if err != nil {
		return nil, err
	}
	if slot.Reservation.live(c.at) {
		return nil, reservedBy(slot.Reservation)
	}
	if err := first(c.refuseSeized(asked.VIN), c.requireFree(slot)); err != nil {
		return nil, err
	}
	from, err := time.Parse(instantLayout, c.at)
	if err != nil {
		return nil, ledgerFailed("read the transaction's timestamp")
	}
	slot.Reservation = &Reservation{
		ReservationID: newNumber(reservationNumber, c.txID, 0),
		VIN:           asked.VIN,
		MSPID:         c.mspID,
		State:         held,
		ReservedAt:    c.at,
		ExpiresAt:     instant(from.Add(time.Duration(asked.HoldSeconds) * time.Second)),
		TxID:          c.txID,
	}
	c.changed(Change{Change: "priority.reserved", VIN: asked.VIN, Reservation: slot.Reservation})
	return slot.Reservation, c.put(slot, slotKey, slot.VIN)
}

type releaseArguments struct {
	VIN           string `json:"vin"`
	ReservationID string `json:"reservation_id"`
}

func releasePriority(c *call, asked releaseArguments) (*Reservation, error) {
	if err := first(checkVIN(asked.VIN), checkNumber("reservation_id", reservationNumber, asked.ReservationID)); err != nil {
		return nil, err
	}
	slot, err := c.slot(asked.VIN)
	if err != nil {
		return nil, err
	}
	reservation := slot.Reservation
	if !reservation.live(c.at) || reservation.ReservationID != asked.ReservationID {
		return nil, notFound("RESERVATION_UNKNOWN", "First rank isn't held by this reservation.")
	}
	if reservation.MSPID != c.mspID {
		return nil, denied("NOT_RESERVED_BY_YOU", "Only the organisation that reserved may release.")
	}
	reservation.State = released
	slot.Reservation = nil
	c.changed(Change{Change: "priority.released", VIN: asked.VIN, Reservation: reservation})
	return reservation, c.put(slot, slotKey, slot.VIN)
}

// Priority tells who has first rank on a car.
type Priority struct {
	VIN                string       `json:"vin"`
	State              string       `json:"state"`
	RegistrationNumber string       `json:"registration_number"`
	Reservation        *Reservation `json:"reservation,omitempty"`
}

func getPriority(c *call, asked vinArguments) (*Priority, error) {
	if err := checkVIN(asked.VIN); err != nil {
		return nil, err
	}
	slot, err := c.slot(asked.VIN)
	if err != nil {
		return nil, err
	}
	if slot.Reservation.live(c.at) {
		return &Priority{VIN: asked.VIN, State: "RESERVED", Reservation: slot.Reservation}, nil
	}
	holder, err := c.standing(slot)
	if err != nil {
		return nil, err
	}
	if holder == "" {
		return &Priority{VIN: asked.VIN, State: "FREE"}, nil
	}
	return &Priority{VIN: asked.VIN, State: "REGISTERED", RegistrationNumber: holder}, nil
}
